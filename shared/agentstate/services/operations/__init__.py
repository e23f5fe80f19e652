"""Operations of the services: request, receipt, verification and postings, one module per service."""
