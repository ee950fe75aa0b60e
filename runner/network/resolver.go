//go:build linux

package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Forwarder is where a namespace finds the host's resolver that listens on the
// host's loopback.
const Forwarder = "127.0.0.11"

// Forward passes questions in a namespace, to Forwarder, on to the host's
// resolver, until it is closed.
func Forward(ns *os.File) (p *Publisher, err error) {
	ports := []Port{
		{HostIP: Forwarder, HostPort: 53, ContainerPort: 53, Protocol: "udp"}, {HostIP: Forwarder, HostPort: 53, ContainerPort: 53, Protocol: "tcp"},
	}
	ask := func(kind string, _ netip.AddrPort) (net.Conn, error) {
		to, err := resolver()
		if err != nil {
			return nil, err
		}
		return net.DialTimeout(kind, to.String(), 10*time.Second)
	}
	inErr := In(ns, func() { p, err = Publish(ports, netip.Addr{}, ask) })
	return p, errors.Join(inErr, err)
}

// resolver is the host's first resolver, at this moment: who moves to another network with a laptop takes the
// containers along.
func resolver() (netip.AddrPort, error) {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return netip.AddrPort{}, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if ip, err := netip.ParseAddr(f[1]); err == nil {
			return netip.AddrPortFrom(ip, 53), nil
		}
	}
	return netip.AddrPort{}, errors.New("the host has no resolver in /etc/resolv.conf")
}
