package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// reach is how far away an address is.
type reach int

const (
	nowhere reach = iota // a link's own addresses: no registry lives there, a cloud's keys do
	loopback
	private
	public
)

func reachOf(ip net.IP) reach {
	switch {
	case ip == nil, ip.IsLinkLocalUnicast(), ip.IsLinkLocalMulticast(), ip.IsMulticast(), ip.IsUnspecified():
		return nowhere
	case ip.IsLoopback():
		return loopback
	case ip.IsPrivate():
		return private
	}
	return public
}

// expect notes a host that the user or a configuration named. The caller holds
// the client's lock.
func (c *Client) expect(host string) {
	if _, known := c.reached[bareHost(host)]; !known {
		c.reached[bareHost(host)] = public
	}
}

// dialer connects to hosts that the user named wherever they are. To others, to
// which a registry sends us for tokens, pages or blobs, it connects only if they
// are no nearer to this machine than the registry itself: a registry in the
// world must not make us ask what listens here, or on the network around. What
// counts is the address after the name was looked up.
func (c *Client) dialer() *guardedDialer {
	return &guardedDialer{c: c, Timeout: 30 * time.Second}
}

type guardedDialer struct {
	c       *Client
	Timeout time.Duration
}

// DialContext connects to host:port.
func (g *guardedDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host := bareHost(addr)
	d := net.Dialer{Timeout: g.Timeout, KeepAlive: 30 * time.Second}
	d.Control = func(_, address string, _ syscall.RawConn) error {
		return g.c.admit(host, net.ParseIP(bareHost(address)))
	}
	return d.DialContext(ctx, network, addr)
}

// admit decides about one address of a host.
func (c *Client) admit(host string, ip net.IP) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := reachOf(ip)
	if _, named := c.reached[host]; named {
		c.reached[host] = min(c.reached[host], at)
		return nil
	}
	if isProxy(host) { // where that is says nothing of the registry behind it
		return nil
	}
	nearest := public
	for _, r := range c.reached {
		nearest = min(nearest, r)
	}
	if at == nowhere || at < nearest {
		return &nearerError{host, ip}
	}
	return nil
}

// errNearer is a server that points to an address where no stranger should send us.
var errNearer = errors.New("the registry points to a server on this machine or its network")

// nearerError names it.
type nearerError struct {
	host string
	ip   net.IP
}

func (e *nearerError) Error() string { return fmt.Sprintf("%v: %s is at %s", errNearer, e.host, e.ip) }
func (e *nearerError) Unwrap() error { return errNearer }

// Hint is what to do about it.
func (e *nearerError) Hint() string {
	return fmt.Sprintf("if that is right, an empty hosts.toml in the folder certs.d/%s (with :PORT, where it has one) lets the registry send there", e.host)
}

// knows tells whether the user knows a host: he named it, or it has a folder of its own
// in certs.d.
func (c *Client) knows(host string) bool {
	if slices.Contains(c.o.PlainHTTP, host) {
		return true
	}
	set, err := readHosts(c.o.HostDirs, host)
	return err == nil && set[0].folder != "" && set[0].folder != everyHost
}

// mayBeNear tells whether a registry may send for tokens to an address that is given as
// such: where both are on a private network, or to a host that the user knows.
func (c *Client) mayBeNear(registry, host string) bool {
	known := c.knows(host)
	c.mu.Lock()
	defer c.mu.Unlock()
	if known {
		c.expect(host)
	}
	return known || c.reached[bareHost(registry)] == private && reachOf(net.ParseIP(bareHost(host))) == private
}

// proxies are those that the environment names.
func proxies() []*url.URL {
	var list []*url.URL
	for _, key := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		v := os.Getenv(key)
		if !strings.Contains(v, "://") {
			v = "http://" + v
		}
		if u, err := url.Parse(v); err == nil && u.Hostname() != "" {
			list = append(list, u)
		}
	}
	return list
}

func isProxy(host string) bool {
	return slices.ContainsFunc(proxies(), func(u *url.URL) bool { return u.Hostname() == host })
}
