//go:build linux

package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Endpoint is one namespace's connection. Its address is its own for as long as
// the process that made it lives and has not closed it.
type Endpoint struct {
	IP      netip.Addr
	Prefix  netip.Prefix
	Gateway netip.Addr
	MAC     string
	Link    string // the host's device
	lease   *os.File
}

// Options of a connection; zero values are chosen.
type Options struct {
	IP  string
	MAC string
	// ToHost lets the namespace reach the host at the gateway's address: what
	// listens there or on every address, but not what listens on the loopback.
	ToHost bool
}

// Connect gives the namespace ns a device eth0 with an address and a default
// route, and starts its loopback device.
func (b *Bridge) Connect(ns *os.File, o Options) (*Endpoint, error) {
	e, err := b.lease(o.IP)
	if err != nil {
		return nil, err
	}
	mac, err := hardwareAddr(o.MAC, e.IP)
	if err == nil {
		err = e.reachHost(o.ToHost)
	}
	if err == nil {
		e.MAC = mac.String()
		err = b.plug(e, ns, mac)
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Close takes the host's device away, and with it the other end, and gives the
// address back.
func (e *Endpoint) Close() error {
	defer e.lease.Close()
	return errors.Join(Unplug(e.Link), e.reachHost(false))
}

// reachHost lets the address reach the host, or takes that back, also where a
// dead monitor had it. A mark in the lease's file says whose it was.
func (e *Endpoint) reachHost(let bool) error {
	mark := []byte{1}
	if n, _ := e.lease.ReadAt(make([]byte, 1), 0); n == 0 && !let {
		return nil
	}
	if let {
		if _, err := e.lease.WriteAt(mark, 0); err != nil {
			return fmt.Errorf("mark address: %w", err)
		}
	}
	if err := letToHost(e.IP, let); err != nil || let {
		return err
	}
	if err := e.lease.Truncate(0); err != nil {
		return fmt.Errorf("mark address: %w", err)
	}
	return nil
}

// Unplug removes a device that a dead monitor left. One that is gone is no error.
func Unplug(name string) error {
	if name == "" {
		return nil
	}
	link, err := netlink.LinkByName(name)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove device %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove device %s: %w", name, err)
	}
	return nil
}

// lease finds an address whose file nobody holds locked.
func (b *Bridge) lease(want string) (*Endpoint, error) {
	first := b.prefix.Masked().Addr()
	if want != "" {
		ip, err := wanted(want, b.prefix)
		if err != nil {
			return nil, err
		}
		f, err := b.hold(ip)
		if err != nil {
			return nil, err
		}
		if f == nil {
			return nil, fmt.Errorf("address %s is in use by another container", ip)
		}
		return b.endpoint(ip, f), nil
	}
	last := broadcast(b.prefix)
	for ip := first.Next().Next(); ip.Less(last); ip = ip.Next() {
		f, err := b.hold(ip)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return b.endpoint(ip, f), nil
		}
	}
	return nil, fmt.Errorf("no free address in %s", b.prefix.Masked())
}

// wanted is the address that was asked for, if a container can have it; the subnet's own is the gateway's.
func wanted(text string, subnet netip.Prefix) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil || !ip.Is4():
		return ip, fmt.Errorf("--ip %q: it is no IPv4 address", text)
	case !subnet.Contains(ip):
		return ip, fmt.Errorf("--ip %s: it is not in the private network's subnet %s", ip, subnet.Masked())
	case ip == subnet.Addr() || ip == subnet.Masked().Addr() || ip == broadcast(subnet):
		return ip, fmt.Errorf("--ip %s: no container can have this address of the subnet %s", ip, subnet.Masked())
	}
	return ip, nil
}

func broadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(a)
}

func (b *Bridge) endpoint(ip netip.Addr, f *os.File) *Endpoint {
	return &Endpoint{IP: ip, Prefix: netip.PrefixFrom(ip, b.prefix.Bits()), Gateway: b.prefix.Addr(), lease: f}
}

// hold locks an address's file; nil when another holds it.
func (b *Bridge) hold(ip netip.Addr) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(b.dir, ip.String()), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lease address: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("lease address: %w", err)
}

// hardwareAddr derives a local unicast address from the IP, as docker does, so
// that neighbours' tables stay right when an address is used again.
func hardwareAddr(want string, ip netip.Addr) (net.HardwareAddr, error) {
	if want != "" {
		mac, err := net.ParseMAC(want)
		if err != nil || len(mac) != 6 {
			return nil, fmt.Errorf("invalid MAC address %q", want)
		}
		return mac, nil
	}
	a := ip.As4()
	return net.HardwareAddr{0x02, 0x42, a[0], a[1], a[2], a[3]}, nil
}

// plug makes the pair and puts its inner end into ns.
func (b *Bridge) plug(e *Endpoint, ns *os.File, mac net.HardwareAddr) error {
	var n [5]byte
	rand.Read(n[:])
	e.Link = fmt.Sprintf("hod%x", n)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = e.Link, b.link.Attrs().Index
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(ns.Fd()),
	}
	if err := addLink(veth); err != nil {
		return fmt.Errorf("make network device: %w", err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("start network device: %w", err)
	}
	return b.inside(e, ns)
}

// addLink makes a device. Who needs a module of the kernel's that is on its way for somebody else, just after the boot,
// may be told that there is none.
func addLink(link netlink.Link) error {
	for try := 0; ; try++ {
		err := netlink.LinkAdd(link)
		if !errors.Is(err, unix.EOPNOTSUPP) || try == 10 {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// inside sets up the namespace's own end, through a netlink socket in it.
func (b *Bridge) inside(e *Endpoint, ns *os.File) error {
	var err error
	doErr := In(ns, func() {
		err = configure(e)
	})
	return errors.Join(doErr, err)
}

func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("start loopback: %w", err)
	}
	return nil
}

func configure(e *Endpoint) error {
	if err := loopback(); err != nil {
		return err
	}
	eth, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	// No route advertised by a neighbour is believed (CVE-2020-13401).
	writeSysctl("/proc/sys/net/ipv6/conf/eth0/accept_ra", "0")
	ones := e.Prefix.Bits()
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: e.IP.AsSlice(), Mask: net.CIDRMask(ones, 32)}}
	if err := netlink.AddrAdd(eth, addr); err != nil {
		return fmt.Errorf("give eth0 its address: %w", err)
	}
	if err := netlink.LinkSetUp(eth); err != nil {
		return fmt.Errorf("start eth0: %w", err)
	}
	route := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: e.Gateway.AsSlice()}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}
