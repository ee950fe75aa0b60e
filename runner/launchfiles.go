//go:build linux

package runner

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// writeFiles writes hosts, hostname and resolv.conf into the container's folder
// and binds them over the image's, unless the user mounts something there.
func (l *launch) writeFiles() error {
	if l.shared != nil {
		l.bindFiles(l.shared)
		return nil
	}
	if err := l.writeHosts(netip.Addr{}); err != nil {
		return err
	}
	if err := l.writeFile("hostname", l.o.Hostname+"\n"); err != nil {
		return err
	}
	if err := l.resolveBy(""); err != nil {
		return err
	}
	l.bindFiles(l.c)
	return nil
}

// bindFiles binds the three files of a container's folder.
func (l *launch) bindFiles(of *Container) {
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		target := "/etc/" + name
		if !slices.ContainsFunc(l.o.Mounts, func(m MountSpec) bool { return m.Target == target }) {
			l.o.Mounts = append(l.o.Mounts, MountSpec{Type: "bind", Source: of.file(name), Target: target, NonRecur: true})
		}
	}
}

// writeFile writes in place: the file may be mounted already.
func (l *launch) writeFile(name, text string) error {
	if err := os.WriteFile(l.c.file(name), []byte(text), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Chmod(l.c.file(name), 0o644)
}

// writeHosts writes the hosts file, with the container's own address once it is
// known.
func (l *launch) writeHosts(own netip.Addr) error {
	if l.o.mode() == "host" {
		if b, err := os.ReadFile("/etc/hosts"); err == nil {
			extra, err := l.extraHosts()
			if err != nil {
				return err
			}
			return l.writeFile("hosts", string(b)+extra)
		}
	}
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	extra, err := l.extraHosts()
	if err != nil {
		return err
	}
	b.WriteString(extra)
	names := l.o.Hostname
	if l.o.Domainname != "" {
		names = l.o.Hostname + "." + l.o.Domainname + " " + l.o.Hostname
	}
	if short, _, dotted := strings.Cut(l.o.Hostname, "."); dotted {
		names += " " + short
	}
	if own.IsValid() && names != "" {
		fmt.Fprintf(&b, "%s\t%s\n", own, names)
	} else if names != "" {
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", names)
	}
	return l.writeFile("hosts", b.String())
}

// extraHosts are the lines of --add-host, NAME:IP or NAME=IP. host-gateway is
// the host: the gateway's address once that is known, or the loopback of who is
// in the host's network.
func (l *launch) extraHosts() (string, error) {
	var b strings.Builder
	for _, h := range l.o.ExtraHosts {
		i := strings.IndexAny(h, ":=")
		if i < 1 {
			return "", fmt.Errorf("invalid --add-host %q: it must be NAME:IP", h)
		}
		name, ip := h[:i], strings.Trim(h[i+1:], "[]")
		switch {
		case ip != hostGateway:
		case l.o.mode() == "host":
			ip = "127.0.0.1"
		case l.net == nil || l.net.state.Gateway == "":
			continue
		default:
			ip = l.net.state.Gateway
		}
		if _, err := netip.ParseAddr(ip); err != nil || strings.ContainsAny(name, " \t\n#") {
			return "", fmt.Errorf("invalid --add-host %q: it must be NAME:IP", h)
		}
		fmt.Fprintf(&b, "%s\t%s\n", ip, name)
	}
	return b.String(), nil
}

// upstreams is where systemd-resolved says whom it asks itself.
const upstreams = "/run/systemd/resolve/resolv.conf"

// resolvConf is the host's file with the flags above it. In a network of its
// own a container does not reach a resolver on the host's loopback, so those
// are replaced by the resolvers behind them, or all by the one forwarder that
// there is.
func (l *launch) resolvConf(forwarder string) (string, error) {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !missing(err) {
		return "", fmt.Errorf("read resolv.conf: %w", err)
	}
	c := parseResolv(string(text))
	if l.o.mode() != "host" {
		c.reachable()
	}
	if forwarder != "" {
		c.servers = []string{forwarder}
	}
	for _, s := range l.o.DNS {
		if _, err := netip.ParseAddr(s); err != nil {
			return "", fmt.Errorf("invalid --dns %q: it must be an IP address", s)
		}
	}
	if len(l.o.DNS) > 0 {
		c.servers = l.o.DNS
	}
	if len(l.o.DNSSearch) > 0 {
		c.search = slices.DeleteFunc(slices.Clone(l.o.DNSSearch), func(s string) bool { return s == "." })
	}
	if len(l.o.DNSOptions) > 0 {
		c.options = l.o.DNSOptions
	}
	return c.String(), nil
}

type resolvFile struct{ servers, search, options []string }

func parseResolv(text string) resolvFile {
	var c resolvFile
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			c.servers = append(c.servers, f[1])
		case "search", "domain":
			c.search = f[1:]
		case "options":
			c.options = append(c.options, f[1:]...)
		}
	}
	return c
}

func isLoopback(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err != nil || ip.IsLoopback()
}

// reachable leaves the servers that are not on the host's loopback, or, where there are none, those behind them.
func (c *resolvFile) reachable() {
	asked := len(c.servers) > 0
	c.servers = slices.DeleteFunc(c.servers, isLoopback)
	if b, err := os.ReadFile(upstreams); err == nil && asked && len(c.servers) == 0 {
		c.servers = slices.DeleteFunc(parseResolv(string(b)).servers, isLoopback)
	}
}

// hasOnlyLoopbackResolvers says that the host has resolvers, and none that a container reaches by itself.
func hasOnlyLoopbackResolvers() bool {
	text, _ := os.ReadFile("/etc/resolv.conf")
	c := parseResolv(string(text))
	asked := len(c.servers) > 0
	c.reachable()
	return asked && len(c.servers) == 0
}

func (c resolvFile) String() string {
	var b strings.Builder
	for _, s := range c.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(c.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.search, " "))
	}
	if len(c.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(c.options, " "))
	}
	return b.String()
}
