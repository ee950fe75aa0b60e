//go:build linux

package network

import (
	"errors"
	"net/netip"
	"os"
	"strings"
)

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
