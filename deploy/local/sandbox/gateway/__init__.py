"""The unified gateway's dialect: `/api/v1/{service}/…` with one key, over the model."""
