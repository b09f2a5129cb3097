"""What the keys and tokens of known services look like: how they begin, and what follows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# A line: beginnings that share a body, then the body. The beginning stays readable, the body is masked. Every body
# holds a run of at least 16 letters, digits, _ and -, so that MIN_RUN such characters stand in a row.
MIN_RUN = 20
_KINDS = r"""
AKIA ASIA ABIA ACCA                                         [A-Z0-9]{16}(?![A-Za-z0-9])
AIza                                                        [\w-]{35}
GOCSPX-                                                     [\w-]{24,}
ghp_ gho_ ghu_ ghs_ ghr_                                    [A-Za-z0-9]{30,}
github_pat_                                                 \w{30,}
glpat- gldt- glrt- glcbt- glptt- glft- glsoat- glimt- glagent- gloas- glffct- glwt-  [\w.-]{18,}
GR1348941                                                   [\w-]{20}
xoxb- xoxp- xoxa- xoxr- xoxs- xoxo- xoxc- xoxd- xoxe- xapp- [\w%/+.-]{16,}
sk_live_ sk_test_ rk_live_ rk_test_ sk_prod_ rk_prod_       [A-Za-z0-9]{16,}
whsec_                                                      [\w/+=]{16,}
SK AC                                                       [0-9a-f]{32}(?![A-Za-z0-9])
key-                                                        [0-9a-f]{32}(?![A-Za-z0-9])
npm_                                                        [A-Za-z0-9]{30,}
pypi-                                                       AgE[\w-]{40,}
sk-proj- sk-svcacct- sk-admin- sk-ant- sk-or- sk-lf- pk-lf- [\w-]{20,}
sk-                                                         (?=[A-Za-z-]{0,40}\d)[A-Za-z0-9]{24,}(?![\w-])
hf_ api_org_                                                (?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{30,}(?![A-Za-z0-9_])
hf_ api_org_                                                (?![a-z]{30}|[A-Z]{30})[A-Za-z]{34}(?![A-Za-z0-9_])
r8_                                                         [A-Za-z0-9]{34,}
gsk_                                                        [A-Za-z0-9]{40,}
xai- pplx-                                                  [A-Za-z0-9]{40,}
nvapi-                                                      [\w-]{50,}
pcsk_                                                       \w{40,}
tgp_v1_                                                     [\w-]{30,}
fw_                                                         [A-Za-z0-9]{22,}(?![A-Za-z0-9_])
lsv2_pt_ lsv2_sk_                                           \w{32,}
jina_                                                       [A-Za-z0-9_-]{40,}
dop_v1_ doo_v1_ dor_v1_                                     [0-9a-f]{40,}
shpat_ shpca_ shppa_ shpss_                                 [0-9a-fA-F]{32}
sq0atp- sq0csp- sq0idp-                                     [\w-]{22,}
EAAA                                                        [\w-]{56,}
EAACEdEose0cBA                                              [A-Za-z0-9]{16,}
dapi                                                        [0-9a-f]{32}(?:-\d)?
lin_api_ lin_oauth_                                         [A-Za-z0-9]{32,}
ntn_ secret_                                                [A-Za-z0-9]{40,}
PMAK-                                                       [0-9a-f]{24}-[0-9a-f]{34}
NRAK- NRII-                                                 [A-Za-z0-9]{27,}
NRJS-                                                       [0-9a-f]{19}
glc_ glsa_                                                  [\w+/=]{28,}
sntrys_ sntryu_                                             [\w+/=-]{32,}
pul-                                                        [0-9a-f]{40}
dckr_pat_ dckr_oat_                                         [\w-]{24,}
rubygems_                                                   [0-9a-f]{40,}
CCIPAT_ CCIPRJ_                                             \w{22,}
bkua_                                                       [0-9a-f]{40}
figd_ figo_                                                 [\w-]{36,}
ATATT3xFfGF0                                                [\w=-]{60,}
ATBB ATCTT3                                                 [\w=-]{24,}
tskey-                                                      (?:[a-z]{3,8}-)?\w{10,}-\w{16,}
xkeysib- xsmtpsib-                                          [0-9a-f]{64}(?:-\w{16})?
AGE-SECRET-KEY-1                                            [A-Z0-9]{40,}
EZAK EZTK                                                   [A-Za-z0-9]{54}
FLWSECK_TEST- FLWSECK-                                      [A-Za-z0-9]{12,}(?:-X)?
fio-u-                                                      [\w-]{40,}
pscale_tkn_ pscale_pw_ pscale_oauth_                        [\w=-]{32,}
pnu_                                                        [A-Za-z0-9]{36}
rdme_                                                       [a-z0-9]{60,}
shippo_live_ shippo_test_                                   [0-9a-f]{40}
tfp_                                                        [\w-]{40,}
AQVN                                                        [\w-]{35,}
LTAI                                                        [A-Za-z0-9]{16,20}(?![A-Za-z0-9])
AKID                                                        [A-Za-z0-9]{32}(?![A-Za-z0-9])
ops_eyJ                                                     [\w=-]{60,}
CLOJARS_                                                    [0-9a-f]{60}
duffel_live_ duffel_test_                                   [\w-]{40,}
ico-                                                        [A-Za-z0-9]{32}(?![\w-])
s-s4t2ud- s-s4t2af-                                         [0-9a-f]{64}
nfp_                                                        [A-Za-z0-9]{36,}
phx_ phc_                                                   [A-Za-z0-9]{40,}
tk-us-                                                      [\w-]{48}
sm_aat_                                                     [A-Za-z0-9]{16}
sgp_                                                        (?:[0-9a-f]{16}_)?[0-9a-f]{40}
sbp_                                                        [0-9a-f]{40}
sb_secret_                                                  [\w-]{20,}
pat-na1- pat-eu1-                                           [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}
ion_                                                        [a-z0-9]{42}
CFPAT-                                                      [\w-]{43}
HRKU-                                                       [\w-]{36,}
aio_                                                        [A-Za-z0-9]{28}(?![A-Za-z0-9_])
AKCp                                                        [A-Za-z0-9]{60,}
pdl_live_apikey_ pdl_sdbx_apikey_                           \w{40,}
access-production- access-sandbox- access-development-      [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}
rzp_live_ rzp_test_                                         [A-Za-z0-9]{14,}
fm1r_ fm1a_ fm2_ fo1_                                       [\w+/=-]{40,}
napi_                                                       [a-z0-9]{48,}
rnd_                                                        [A-Za-z0-9]{28,}(?![A-Za-z0-9_])
vcp_ vci_ vck_                                              [A-Za-z0-9]{48,}
ddapi_ ddp_                                                 [A-Za-z0-9]{32,}
tvly- fc-                                                   [A-Za-z0-9-]{30,}
e2b_                                                        [0-9a-f]{40}
y0_                                                         [\w-]{50,}
"""

# Those with a point or the like between their parts. LEADS: the ends of what may stand before the first run that is
# long enough; each pattern begins a little before that, and its group is what is masked.
LEADS = tuple(b"SG. hvs. hvb. hvr. .pt. .st. .sa. .ct. scim. udit. sv1. 01. ya29. 1// t1. v1. 256~ pat. Q~ $".split())
LEAD_BYTES = 64
_DOTTED = (
    rb"(?<![A-Za-z0-9])SG\.([\w-]{16,32}\.[\w-]{16,64})",
    rb"(?<![A-Za-z0-9])hv[sbr]\.([\w-]{24,})",
    rb"(?<![A-Za-z0-9])dp\.(?:pt|st|sa|ct|scim|audit)\.([A-Za-z0-9]{40,44})",
    rb"(?<![A-Za-z0-9])dp\.st\.[\w-]{2,35}\.([A-Za-z0-9]{40,44})",
    rb"(?<![A-Za-z0-9])[A-Za-z0-9]{14}\.atlasv1\.([\w=-]{60,70})",
    rb"(?<![A-Za-z0-9])dt0[a-z]01\.([A-Z0-9]{24}\.[A-Z0-9]{64})",
    rb"(?<![A-Za-z0-9])ya29\.([\w-]{20,})",
    rb"(?<![A-Za-z0-9])1//(0[\w-]{40,})",
    rb"(?<![A-Za-z0-9])v1\.0-([0-9a-f]{24}-[0-9a-f]{146})",
    rb"(?<![A-Za-z0-9])t1\.([A-Z0-9a-z_-]{80,}={0,2})",
    rb"(?<![A-Za-z0-9])sha256~([\w-]{43})(?![\w-])",
    rb"(?<![A-Za-z0-9])access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$([0-9a-f]{32})",
    rb"(?<![A-Za-z0-9])pat\.([\w-]{22}\.[0-9a-f]{24}\.[\w-]{20})",
    rb"(?<![\w~.-])([\w~.-]{3}\dQ~[\w~.-]{31,34})(?![\w~.-])",
)
# Airtable's and Telegram's, told by what stands a known distance before a run of known length.
_PAIRS = (
    rb"(?<![A-Za-z0-9])pat[A-Za-z0-9]{14}\.([0-9a-f]{64})(?![\w-])",
    rb"(?<!\d)\d{8,10}:(AA[\w-]{32,34})(?![\w-])",
)

TokenPattern = re.Pattern[bytes]


def _by_start() -> Mapping[bytes, Sequence[tuple[int, TokenPattern]]]:
    """The first two bytes of a token -> (length of its beginning, pattern) of the kinds that begin so."""
    table: dict[bytes, list[tuple[int, TokenPattern]]] = {}
    for line in _KINDS.strip().splitlines():
        *starts, body = re.split(r"\s+(?![^\[]*\])", line.strip())
        for start in starts:
            pattern = re.compile((re.escape(start) + body).encode(), re.ASCII)
            table.setdefault(start[:2].encode(), []).append((len(start), pattern))
    return table


BY_START = _by_start()
DOTTED = tuple(re.compile(pattern) for pattern in _DOTTED)
AIRTABLE, TELEGRAM = (re.compile(pattern) for pattern in _PAIRS)
