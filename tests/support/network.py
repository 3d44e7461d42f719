"""Several hosts on one machine: network namespaces with addresses and a DNS of their own."""

import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.processes import Process, program, wait_for

DNS = "127.0.0.11"
"""Where each host asks for names, as in a container of Docker."""


def _ip(*arguments: str) -> str:
    return subprocess.run(
        ["ip", *arguments], check=True, capture_output=True, text=True, timeout=30
    ).stdout


def _free_subnet() -> ipaddress.IPv4Network:
    """A part of 10.0.0.0/8 that this machine has no route to."""
    taken = [
        ipaddress.ip_network(route["dst"])
        for route in json.loads(_ip("-json", "-4", "route", "show", "table", "all"))
        if route["dst"] != "default"
    ]
    while True:
        subnet = ipaddress.IPv4Network(f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.0/24")
        if not any(subnet.overlaps(each) for each in taken):
            return subnet


class Host:
    """A host: a network namespace with one interface, and the processes that run there."""

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace = namespace
        self.address = address

    def command(self, *command: str) -> list[str]:
        """The command that runs `command` on this host."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def cut_off(self) -> None:
        """Take the interface down, as a pulled cable does."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def reconnect(self) -> None:
        _ip("-n", self.namespace, "link", "set", "eth0", "up")


class Network:
    """A switch, the hosts on it, and the names that its DNS knows.

    This machine itself is on it as well, so that tests can reach every host.
    """

    def __init__(self, folder: Path) -> None:
        # Unique, and short enough for the name of an interface.
        self._name = f"fm{secrets.token_hex(3)}"
        self._mine = f"{self._name}m"
        self._folder = folder
        self._subnet = _free_subnet()
        self._addresses = self._subnet.hosts()
        self._names: dict[str, list[str]] = {}
        self._servers: list[Process] = []
        self._namespaces: list[str] = []
        self._count = 0
        self._switch = self._namespace("lan")

    def start(self) -> None:
        """Connect this machine with the switch."""
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")
        peer = ("peer", "name", "machine", "netns", self._switch)
        _ip("link", "add", self._mine, "type", "veth", *peer)
        self._plug_in("machine")
        _ip("address", "add", f"{next(self._addresses)}/24", "dev", self._mine)
        _ip("link", "set", self._mine, "up")

    def host(self, name: str) -> Host:
        """A new host, which is given the next address."""
        host = Host(self._namespace(f"{name}-{self._count}"), str(next(self._addresses)))
        self._count += 1
        port = f"port{self._count}"
        inside = ("-n", host.namespace)
        peer = ("peer", "name", port, "netns", self._switch)
        _ip(*inside, "link", "add", "eth0", "type", "veth", *peer)
        self._plug_in(port)
        _ip(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")
        return host

    def serve_names(self, host: Host) -> None:
        """Let a host find the others by name, by a DNS server as Docker has one."""
        resolver = Path("/etc/netns") / host.namespace
        resolver.mkdir(parents=True)
        (resolver / "resolv.conf").write_text(f"nameserver {DNS}\n")
        self._write_names()
        command = host.command(
            *(program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="),
            *("--no-resolv", "--no-hosts", f"--addn-hosts={self._hosts_file}", "--user=root"),
            *(f"--listen-address={DNS}", "--bind-interfaces", "--log-facility=-"),
        )
        server = Process(command, self._folder / f"dns-{host.namespace}.log")
        self._servers.append(server)
        # Before that, the signal that makes it read the names would end it.
        wait_for(lambda: "started" in server.log, f"names are served: {server.log}")

    def announce(self, name: str, host: Host) -> None:
        """Add the host's address to those of a name."""
        self._names.setdefault(name, []).append(host.address)
        self._write_names()

    def forget(self, name: str, host: Host) -> None:
        """Remove the host's address from those of a name."""
        self._names[name].remove(host.address)
        self._write_names()

    def close(self) -> None:
        """Leave nothing of it behind."""
        for server in self._servers:
            server.kill()
        for namespace in reversed(self._namespaces):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", namespace)
            shutil.rmtree(Path("/etc/netns") / namespace, ignore_errors=True)
        with suppress(OSError):
            Path("/etc/netns").rmdir()
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self._mine)

    @property
    def _hosts_file(self) -> Path:
        return self._folder / "hosts"

    def _namespace(self, name: str) -> str:
        namespace = f"{self._name}-{name}"
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        return namespace

    def _plug_in(self, port: str) -> None:
        _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")

    def _write_names(self) -> None:
        lines = [
            f"{address} {name}\n"
            for name, addresses in self._names.items()
            for address in addresses
        ]
        self._hosts_file.write_text("".join(lines))
        for server in self._servers:
            server.popen.send_signal(signal.SIGHUP)


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """A network until the end of the block; the test is skipped where there can be none."""
    program("ip")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with ExitStack() as stack:
        try:
            network = Network(folder)
            stack.callback(network.close)
            network.start()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be had here: {error.stderr.strip()}")
        yield network
