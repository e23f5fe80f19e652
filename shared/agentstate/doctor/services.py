"""Check of the financial services: each that is configured is asked once, by the gateway or at its own routes."""

from __future__ import annotations

from agentstate.doctor.finding import Finding, fail_finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.services.http.services_check import FAIL, OK, ServiceFinding, check_services, check_url
from agentstate.services.http.services_file import ServicesFile


def check_service_routes(system: System) -> Finding:
    """Check that every configured service answers, takes our key, has the route, and tells our time."""
    settings = system.settings
    if settings.services_dialect == "gateway":
        if settings.services_api_key is None:
            return ok_finding("no services are configured")
        found = [check_url(settings.services_url, settings.services_api_key.get_secret_value())]
    elif settings.services_file is None:
        return fail_finding("AGENTSTATE_SERVICES_FILE is not set", "Write one with `agentstate services init FILE`.")
    else:
        found = check_services(ServicesFile(settings.services_file))
    return assess_services(found)


def assess_services(found: list[ServiceFinding]) -> Finding:
    """Return one finding for all services; one that cannot be reached now is a warning, as it may come back."""
    trouble = [each for each in found if each.verdict != OK]
    if not trouble:
        return ok_finding(f"{', '.join(each.about for each in found)}: all answer")
    text = "; ".join(f"{each.about}: {each.found}" for each in trouble)
    remedy = " ".join(dict.fromkeys(each.remedy for each in trouble))
    is_wrong = any(each.verdict == FAIL and each.is_reached for each in trouble)
    return fail_finding(text, remedy) if is_wrong else warn_finding(text, remedy)
