//go:build linux

package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Port is one published port.
type Port struct {
	HostIP        string // empty: every address, of both families
	HostPort      uint16 // 0: chosen
	HostLast      uint16 `json:",omitempty"` // not 0: the first free one from HostPort to this
	ContainerPort uint16
	Protocol      string // tcp or udp
}

// Publisher listens on ports of the host and carries what comes to a container.
type Publisher struct {
	// Ports are those asked for, with the numbers chosen.
	Ports   []Port
	dial    Dial
	closers []io.Closer
}

// Dial connects to a container.
type Dial func(kind string, to netip.AddrPort) (net.Conn, error)

// Direct is for containers whose addresses the host reaches.
func Direct(kind string, to netip.AddrPort) (net.Conn, error) {
	return net.DialTimeout(kind, to.String(), 10*time.Second)
}

// Publish listens on all ports and forwards to the address to; if one is taken
// nothing is left open.
func Publish(ports []Port, to netip.Addr, dial Dial) (*Publisher, error) {
	p := &Publisher{dial: dial}
	for _, port := range ports {
		if err := p.listen(port, to); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

// Close stops listening and cuts what is open.
func (p *Publisher) Close() error {
	var errs []error
	for _, c := range p.closers {
		errs = append(errs, c.Close())
	}
	p.closers = nil
	return errors.Join(errs...)
}

func (p *Publisher) listen(port Port, to netip.Addr) error {
	target := netip.AddrPortFrom(to, port.ContainerPort)
	for try := 0; ; try++ {
		chosen, closer, err := p.listenOne(port, target)
		// With a free port for two families the second may be taken.
		if err != nil && port.HostPort == 0 && try < 20 && errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if port.HostPort < port.HostLast && errors.Is(err, unix.EADDRINUSE) {
			port.HostPort++
			continue
		}
		if err != nil {
			return fmt.Errorf("publish port %s: %w", net.JoinHostPort(port.HostIP, strconv.Itoa(int(port.HostPort))), plain(err))
		}
		p.closers = append(p.closers, closer)
		port.HostPort, port.HostLast = chosen, 0
		p.Ports = append(p.Ports, port)
		return nil
	}
}

// plain turns the commonest failures into words that help.
func plain(err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("port is already allocated: %w", unix.EADDRINUSE)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return errors.New("the address is none of this host's")
	case errors.Is(err, unix.EACCES):
		return errors.New("ports below net.ipv4.ip_unprivileged_port_start need root; choose a higher one")
	}
	return err
}

func (p *Publisher) listenOne(port Port, target netip.AddrPort) (uint16, io.Closer, error) {
	addr := net.JoinHostPort(port.HostIP, strconv.Itoa(int(port.HostPort)))
	if port.Protocol == "udp" {
		ua, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			return 0, nil, err
		}
		conn, err := net.ListenUDP("udp", ua)
		if err != nil {
			return 0, nil, err
		}
		if err := tellAddresses(conn); err != nil {
			conn.Close()
			return 0, nil, err
		}
		go p.serveUDP(conn, target)
		return conn.LocalAddr().(*net.UDPAddr).AddrPort().Port(), conn, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return 0, nil, err
	}
	go p.serveTCP(l, target)
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), l, nil
}

func (p *Publisher) serveTCP(l net.Listener, target netip.AddrPort) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors: those in use must end first.
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go p.carry(conn.(*net.TCPConn), target)
	}
}

func (p *Publisher) carry(client *net.TCPConn, target netip.AddrPort) {
	defer client.Close()
	conn, err := p.dial("tcp", target)
	if err != nil {
		client.SetLinger(0)
		return
	}
	join(conn.(*net.TCPConn), client)
}
