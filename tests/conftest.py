"""What every test stands on: a user's cache of its own, so that no run changes or sees the machine's."""

import os
import tempfile

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="selfroute-tests-")
