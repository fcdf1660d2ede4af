from secmi_exp.api.audits import audit as audit
from secmi_exp.api.audits import t_errors as t_errors
from secmi_exp.api.comparison import compare as compare
from secmi_exp.api.result import AuditResult as AuditResult
from secmi_exp.api.result import load as load
from secmi_exp.errors import UserError as UserError
from secmi_exp.targets.given import NoiseFunction as NoiseFunction

__version__: str
API: dict[str, str]
