#!/bin/sh
# Install gotriage for the users of this machine, from this checkout.
#
#   sudo packaging/install.sh               into /opt/gotriage, with a link in /usr/local/bin; again: an upgrade
#   sudo packaging/install.sh --minimal     without the optional packages of the distribution
#   sudo packaging/install.sh --uninstall   remove what this script made, and nothing else
#
# Python packages come by the hashes of requirements/*.lock. The command runs Python isolated (-I): neither the current
# folder nor PYTHON* variables nor a user's own packages can put code into a process that has root.
set -eu
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

HOME_DIR=/opt/gotriage
LINK=/usr/local/bin/gotriage
COMMAND=$HOME_DIR/bin/gotriage
MADE=$HOME_DIR/.made-by-install.sh   # proof that the folder is ours; its lines are the packages that were installed
PYTHON=/usr/bin/python3              # the distribution's own: its python3-systemd and python3-bpfcc are built for it
OPTIONAL="python3-systemd libbpf1 python3-bpfcc bpftrace strace"

say() { printf '%s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

apt_install() { # PACKAGE: quietly; its failure is the caller's to tell
    DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$1" >"$work/apt.log" 2>&1
}

add_packages() { # needed|optional PACKAGE...
    kind=$1
    shift
    for package in "$@"; do
        installed "$package" && continue
        if ! command -v apt-get >/dev/null; then
            say "  $package: not a Debian or Ubuntu; left out"
            continue
        fi
        [ -n "$updated" ] || { say "  package lists"; apt-get -qq update >/dev/null 2>&1 || :; updated=yes; }
        say "  $package"
        if apt_install "$package"; then
            echo "$package" >>"$work/packages"
        elif [ "$kind" = needed ]; then
            cat "$work/apt.log" >&2
            die "could not install $package"
        else
            say "  $package cannot be had here: $(sed -n 's/^E: //p' "$work/apt.log" | head -n 1); left out"
        fi
    done
}

check_before() {
    [ -x $PYTHON ] || die "needs $PYTHON"
    $PYTHON -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or later at $PYTHON"
    [ -f "$source/pyproject.toml" ] && [ -f "$source/requirements/run.lock" ] || die "$source is no checkout of gotriage"
    [ ! -e $HOME_DIR ] || [ -f $MADE ] || die "$HOME_DIR is there and was not made by this script; move it away"
    if [ -e $LINK ] || [ -L $LINK ]; then
        [ "$(readlink $LINK)" = $COMMAND ] || die "$LINK is there and does not belong to this installation; move it away"
    fi
}

pip() { # ARGUMENTS...: the temporary pip, quiet unless it fails
    "$work/tool/bin/python" -I -m pip --disable-pip-version-check --no-input "$@" >"$work/pip.log" 2>&1 ||
        { cat "$work/pip.log" >&2; die "pip failed: $1"; }
}

build() { # the package as a wheel, built by pinned tools outside the checkout
    $PYTHON -I -m venv "$work/tool"
    pip install --require-hashes -r "$source/requirements/build.lock"
    mkdir "$work/source"
    for part in pyproject.toml README.md LICENSE gotriage; do
        cp -R "$source/$part" "$work/source/"
    done
    find "$work/source" -name __pycache__ -type d -prune -exec rm -rf {} +
    pip wheel --no-deps --no-build-isolation --wheel-dir "$work/wheel" "$work/source"
}

fill() { # a new environment beside the old one, which stays in use until the new one works
    rm -rf $HOME_DIR/venv.new
    $PYTHON -I -m venv --without-pip $HOME_DIR/venv.new
    pip --python $HOME_DIR/venv.new/bin/python install --require-hashes -r "$source/requirements/run.lock"
    pip --python $HOME_DIR/venv.new/bin/python install --no-deps --no-index "$work"/wheel/*.whl
    find $HOME_DIR/venv.new/bin ! -type l ! -path $HOME_DIR/venv.new/bin -delete   # commands of the dependencies
    (cd / && $HOME_DIR/venv.new/bin/python -I -c 'import gotriage.cli.main') || die "the new installation does not start"
}

switch() {
    rm -rf $HOME_DIR/venv.old
    [ ! -e $HOME_DIR/venv ] || mv $HOME_DIR/venv $HOME_DIR/venv.old
    mv $HOME_DIR/venv.new $HOME_DIR/venv
    rm -rf $HOME_DIR/venv.old
    mkdir -p $HOME_DIR/bin "${LINK%/*}"
    cat >$COMMAND.new <<END
#!$HOME_DIR/venv/bin/python -I
"""Started by $LINK."""
import sys

from gotriage.__main__ import main

sys.exit(main())
END
    chmod 755 $COMMAND.new
    mv $COMMAND.new $COMMAND
    ln -sfn $COMMAND $LINK
}

install() {
    source=$(cd "$(dirname "$0")/.." && pwd)
    check_before
    work=$(mktemp -d)
    fresh=
    [ -e $HOME_DIR ] || fresh=yes
    trap 'status=$?; rm -rf "$work" $HOME_DIR/venv.new; [ -z "$fresh" ] || [ $status = 0 ] || rm -rf $HOME_DIR' EXIT
    trap 'exit 130' INT TERM HUP
    updated=
    : >"$work/packages"
    say "Packages of the distribution"
    $PYTHON -I -c 'import venv, ensurepip' 2>/dev/null || add_packages needed python3-venv
    if [ -z "$minimal" ]; then
        # shellcheck disable=SC2086
        add_packages optional $OPTIONAL
    else
        say "  the optional ones are left out: $OPTIONAL"
    fi
    say "gotriage, built from $source"
    build
    say "Python packages into $HOME_DIR: $(grep -c '^[a-z]' "$source/requirements/run.lock"), by their hashes"
    mkdir -p $HOME_DIR
    cat "$work/packages" >>$MADE
    fill
    switch
    fresh=
    say "Installed: $LINK, version $(cd / && $LINK --version 2>&1 | tail -n 1)"
    say "What this machine lets it do: sudo gotriage doctor"
}

uninstall() {
    if [ "$(readlink $LINK 2>/dev/null)" = $COMMAND ]; then rm -f $LINK; say "Removed $LINK"; fi
    if [ -f $MADE ]; then
        packages=$(sort -u $MADE | tr '\n' ' ')
        rm -rf $HOME_DIR
        say "Removed $HOME_DIR"
        [ -z "$packages" ] || say "Packages it had installed stay, others may use them: apt-get remove $packages"
    elif [ -e $HOME_DIR ]; then
        die "$HOME_DIR was not made by this script; left alone"
    else
        say "gotriage is not installed in $HOME_DIR"
    fi
}

minimal=
action=install
for word in "$@"; do
    case $word in
    --minimal) minimal=yes ;;
    --uninstall) action=uninstall ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0"; [ "$word" = --help ] || [ "$word" = -h ] && exit 0; exit 64 ;;
    esac
done
[ "$(id -u)" = 0 ] || die "needs root: sudo $0 $*"
$action
