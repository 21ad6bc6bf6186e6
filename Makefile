# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors

# Two commands matter: "make demo" shows the collection at work, "make test" proves it. "make bench" measures it.
# Everything else is a part of one of them. All of them install what is missing and write below build/ only.

LEVELS := lint sanity units report simulator awx ceph libvirt lab

.DEFAULT_GOAL := help
.PHONY: help demo test bench $(LEVELS) sanity-all lab-up lab-down lab-ssh format changelog clean

help:
	@echo 'make demo          a Ceph, targets and hypervisors on this machine; volumes grown under running guests'
	@echo 'make test          every level: $(LEVELS)'
	@echo 'make LEVEL         one level of the above'
	@echo 'make bench         1000 volumes grown on 50 light hosts, measured; smaller: make bench BENCH_HOSTS=5 BENCH_VOLUMES=100'
	@echo 'make sanity-all    the sanity tests also with the oldest and the newest supported ansible-core'
	@echo 'make lab-up        start the lab and leave it running; lab-ssh HOST=name, lab-down'
	@echo 'make format        lay out the Python files and sort their imports'
	@echo 'make changelog     write CHANGELOG.* from the fragments for the version in galaxy.yml'
	@echo 'make clean         stop the lab and remove everything the tests made'

demo:
	tests/run --prepare lab -- tests/lab/demo

test:
	tests/run

$(LEVELS):
	tests/run $@

bench:
	tests/run --prepare bench -- tests/bench/bench

sanity-all:
	tests/run sanity sanity-oldest sanity-newest

lab-up:
	tests/run --prepare lab -- tests/lab/lab up

lab-down:
	tests/run --prepare lab -- tests/lab/lab down

lab-ssh:
	tests/run --prepare lab -- tests/lab/lab ssh $(HOST)

format:
	tests/run --prepare lint -- sh -c 'ruff check --select I --fix --quiet . && ruff format .'

changelog:
	tests/run --prepare lint -- antsibull-changelog release --update-existing --reload-plugins

clean:
	tests/tools/clean
