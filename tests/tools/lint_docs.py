# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""antsibull-docs with names of temporary directories that are no markup.

It writes the path of its temporary directory into reStructuredText. Python's names may end in an underscore, and such a one is a reference there: one run
in 37 then complains of an "Unknown target name" on every page (seen with antsibull-docs 2.28).
"""

from __future__ import annotations

import sys
import tempfile

from antsibull_docs.cli.antsibull_docs import main

tempfile._RandomNameSequence.characters = tempfile._RandomNameSequence.characters.replace("_", "")
sys.exit(main())
