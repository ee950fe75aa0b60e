//go:build linux

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type syscallConn = syscall.RawConn

// control makes a socket transparent: it may have any address, and tells to which one a datagram was sent.
func control(c syscallConn, f family) error {
	transparent := unix.IP_TRANSPARENT
	if f.af == unix.AF_INET6 {
		transparent = unix.IPV6_TRANSPARENT
	}
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptInt(int(fd), f.level, transparent, 1), unix.SetsockoptInt(int(fd), f.level, f.origin, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	})
	return errors.Join(cerr, err)
}

// flow is who speaks with whom.
type flow struct{ from, to netip.AddrPort }

// exchange is one flow of datagrams: back, in the relay's namespace, has the address that the container spoke to.
type exchange struct {
	host net.Conn
	back net.Conn
	idle time.Duration
}

// maxExchanges bounds how many flows of datagrams there are at once.
const maxExchanges = 1024

type exchanges struct {
	mu  sync.Mutex // guards all
	all map[flow]*exchange
}

// serveUDP carries datagrams until the socket is closed.
func (r *Relay) serveUDP(conn *net.UDPConn) {
	table := exchanges{all: map[flow]*exchange{}}
	defer table.close()
	buf, oob := make([]byte, 64<<10), make([]byte, 256)
	for {
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		to, ok := origin(oob[:oobn])
		if err != nil || !ok {
			continue
		}
		f := flow{from, to}
		e, err := table.get(f, func() (*exchange, error) { return r.exchange(f) }, &r.tasks)
		if err == nil && e != nil {
			e.rest()
			e.host.Write(buf[:n])
		}
	}
}

// get finds the exchange of a flow or makes it, and then carries its answers.
func (t *exchanges) get(f flow, make func() (*exchange, error), tasks *sync.WaitGroup) (*exchange, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.all[f]
	if e != nil || len(t.all) >= maxExchanges {
		return e, nil
	}
	e, err := make()
	if err != nil {
		return nil, err
	}
	t.all[f] = e
	tasks.Go(func() {
		e.carry()
		t.mu.Lock()
		delete(t.all, f)
		t.mu.Unlock()
	})
	return e, nil
}

func (t *exchanges) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.all {
		e.host.Close()
	}
}

// exchange opens both ends of a new flow.
func (r *Relay) exchange(f flow) (*exchange, error) {
	to, err := r.target(f.to)
	if err != nil {
		return nil, err
	}
	host, err := net.Dial("udp", to.String())
	if err != nil {
		return nil, err
	}
	fam := r.families()[0]
	if f.to.Addr().Is6() {
		fam = r.families()[1]
	}
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(f.to), Control: func(_, _ string, c syscallConn) error { return control(c, fam) }}
	var back net.Conn
	inErr := In(r.ns, func() { back, err = d.DialContext(r.ctx, fam.udp, f.from.String()) })
	if err := errors.Join(inErr, err); err != nil {
		host.Close()
		return nil, err
	}
	return &exchange{host, back, patience(f.to.Port())}, nil
}

// carry carries both ways until nothing was said for a while. The first datagram of the container comes to the relay's
// own socket, the next ones to back, which is connected.
func (e *exchange) carry() {
	var both sync.WaitGroup
	both.Go(func() { e.pump(e.back, e.host) })
	both.Go(func() { e.pump(e.host, e.back) })
	both.Wait()
}

func (e *exchange) pump(to, from net.Conn) {
	defer e.back.Close()
	defer e.host.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return
		}
		e.rest()
		to.Write(buf[:n])
	}
}

// rest begins the time after which the exchange is forgotten.
func (e *exchange) rest() {
	end := time.Now().Add(e.idle)
	e.host.SetReadDeadline(end)
	e.back.SetReadDeadline(end)
}

// origin reads to which address a datagram was sent.
func origin(oob []byte) (netip.AddrPort, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVORIGDSTADDR && len(m.Data) >= 8:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Data[4:8])), binary.BigEndian.Uint16(m.Data[2:])), true
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVORIGDSTADDR && len(m.Data) >= 24:
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(m.Data[8:24])), binary.BigEndian.Uint16(m.Data[2:])), true
		}
	}
	return netip.AddrPort{}, false
}

// target is where the host's side of a connection goes: not to the host itself, unless by the gateway's address where that
// was asked for, and from the gateway's port 53 to a resolver.
func (r *Relay) target(to netip.AddrPort) (netip.AddrPort, error) {
	ip := to.Addr().Unmap()
	if ip == r.Gateway || ip == r.gateway6 {
		if to.Port() == 53 {
			return resolver()
		}
		if r.o.ToHost {
			own, err := hostAddress()
			return netip.AddrPortFrom(own, to.Port()), err
		}
		return to, fmt.Errorf("%w: %s is the gateway", errOwn, ip)
	}
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() {
		return to, fmt.Errorf("%w: %s", errOwn, ip)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return to, err
	}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == ip {
			return to, fmt.Errorf("%w: %s is the host", errOwn, ip)
		}
	}
	return netip.AddrPortFrom(ip, to.Port()), nil
}

// hostAddress is the host's address on its way out, or any. Its loopback is out of reach, as ever.
func hostAddress() (netip.Addr, error) {
	if c, err := net.Dial("udp4", "192.0.2.1:9"); err == nil { // this sends nothing
		defer c.Close()
		if ip := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); ip.IsGlobalUnicast() {
			return ip, nil
		}
	}
	own, err := net.InterfaceAddrs()
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.Join(err, fmt.Errorf("%w: the host has no address but its loopback's", errOwn))
}

// errOwn says that an address is one that a container shall not reach.
var errOwn = errors.New("not reachable from a container")
