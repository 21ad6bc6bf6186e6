# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for get-pip.py in ansible-test's cache.

ansible-test downloads get-pip.py from a server of its own, which a machine that reaches only a package index cannot.
This does the same from Python's bundled pip and the ordinary index.
"""

from __future__ import annotations

import os
import subprocess
import sys

arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)
environment = {key: value for key, value in os.environ.items() if key != "GET_PIP"}
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *arguments], env=environment))
