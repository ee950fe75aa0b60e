//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Relay connects a network namespace with the world without root. It needs what root of a user namespace has: a second
// namespace stands between, in which the kernel itself ends every connection that the first one begins, whatever its
// destination (transparent proxying). The relay, a process of the user, begins the same connection from the host and
// carries the bytes, by splice and not packet by packet. A connection is accepted only after the host's side is there, so
// a refusal stays a refusal.
//
//	container eth0 ── up  relay's namespace (rules → sockets) ── this process ── host's network
//
// What it carries is TCP and UDP. It does not reach the host: neither its loopback nor, unless asked to, its own addresses.
// Questions to port 53 of the gateway go to the host's resolvers, one on the loopback too.
type Relay struct {
	// IP and IP6 are the container's addresses; IP6 is not valid where the host has no route for it.
	IP, IP6 netip.Prefix
	Gateway netip.Addr
	MAC     string

	o        Options
	gateway6 netip.Addr
	ns       *os.File // the namespace between
	gate     gate
	closers  []func() error
	tasks    sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc
}

// The second address family, where the host has it.
var subnet6 = netip.MustParsePrefix("fd00:686f:64::1/64")

// NewRelay connects ns, a namespace of the caller's, until Close.
func NewRelay(ns *os.File, o Options) (*Relay, error) {
	r := &Relay{o: o}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.start(ns); err != nil {
		r.Close()
		return nil, fmt.Errorf("connect network without root: %w", err)
	}
	return r, nil
}

// Close cuts all connections and takes the device away.
func (r *Relay) Close() error {
	r.cancel()
	var errs []error
	for _, c := range slices.Backward(r.closers) {
		errs = append(errs, c())
	}
	r.closers = nil
	r.tasks.Wait()
	return errors.Join(errs...)
}

// Dial connects to a port of the container, for a Publisher.
func (r *Relay) Dial(kind string, to netip.AddrPort) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	inErr := In(r.ns, func() { conn, err = d.DialContext(r.ctx, kind, to.String()) })
	return conn, errors.Join(inErr, err)
}

func (r *Relay) start(ns *os.File) error {
	if err := r.choose(); err != nil {
		return err
	}
	var err error
	if r.ns, err = NewNamespace(); err != nil {
		return err
	}
	r.closers = append(r.closers, r.ns.Close)
	inErr := In(r.ns, func() { err = r.between(ns) })
	if err := errors.Join(inErr, err); err != nil {
		return err
	}
	inErr = In(ns, func() { err = r.inside() })
	if err := errors.Join(inErr, err); err != nil {
		return err
	}
	inErr = In(r.ns, func() { err = r.listen() })
	return errors.Join(inErr, err)
}

// choose takes a subnet that the host does not use.
func (r *Relay) choose() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("choose subnet: %w", err)
	}
	for _, s := range subnets {
		p := netip.MustParsePrefix(s)
		if routed(routes, p) {
			continue
		}
		r.Gateway = p.Addr()
		r.IP = netip.PrefixFrom(p.Addr().Next(), p.Bits())
		if r.o.IP != "" {
			ip, err := wanted(r.o.IP, p)
			if err != nil {
				return err
			}
			r.IP = netip.PrefixFrom(ip, p.Bits())
		}
		// A route is enough: connecting a datagram socket sends nothing.
		if c, err := net.Dial("udp6", "[2001:db8::1]:9"); err == nil {
			c.Close()
			r.gateway6, r.IP6 = subnet6.Addr(), netip.PrefixFrom(subnet6.Addr().Next(), subnet6.Bits())
		}
		return nil
	}
	return errors.New("choose subnet: every subnet that hod knows is routed on this host; use --network host or none")
}

// between sets up the relay's own namespace, in which the caller is.
func (r *Relay) between(ns *os.File) error {
	mac, err := hardwareAddr(r.o.MAC, r.IP.Addr())
	if err != nil {
		return err
	}
	r.MAC = mac.String()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "up"
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(ns.Fd())}
	if err := addLink(veth); err != nil {
		return fmt.Errorf("make network device: %w", err)
	}
	r.closers = append(r.closers, func() (err error) {
		inErr := In(r.ns, func() { err = Unplug("up") })
		return errors.Join(inErr, err)
	})
	for _, file := range []string{"all", "default", "up", "lo"} {
		writeSysctl("/proc/sys/net/ipv4/conf/"+file+"/rp_filter", "0")
	}
	if err := loopback(); err != nil {
		return err
	}
	if err := address("up", netip.PrefixFrom(r.Gateway, r.IP.Bits()), netip.Addr{}); err != nil {
		return err
	}
	if r.IP6.IsValid() {
		if err := address("up", netip.PrefixFrom(r.gateway6, r.IP6.Bits()), netip.Addr{}); err != nil {
			return err
		}
	}
	return r.catchAll()
}

// caught marks packets that end here whatever their destination.
const caught = 1

// catchAll makes every address one of this namespace's own for packets that are marked.
func (r *Relay) catchAll() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	const table = 100
	for _, f := range r.families() {
		rule := netlink.NewRule()
		rule.Mark, rule.Table, rule.Family = caught, table, f.af
		if err := netlink.RuleAdd(rule); err != nil {
			return fmt.Errorf("route marked packets: %w", err)
		}
		all := &net.IPNet{IP: make(net.IP, f.size), Mask: make(net.IPMask, f.size)}
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Table: table, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("route marked packets: %w", err)
		}
	}
	return nil
}

// family is what differs between the versions of the internet protocol.
type family struct {
	af, size  int
	nf        byte
	tcp, udp  string
	any       string
	level     int
	origin    int // socket option for the original destination
	ethertype uint16
}

func (r *Relay) families() []family {
	list := []family{{unix.AF_INET, 4, unix.NFPROTO_IPV4, "tcp4", "udp4", "0.0.0.0:0", unix.SOL_IP, unix.IP_RECVORIGDSTADDR, unix.ETH_P_IP}}
	if r.IP6.IsValid() {
		list = append(list, family{unix.AF_INET6, 16, unix.NFPROTO_IPV6, "tcp6", "udp6", "[::]:0", unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, unix.ETH_P_IPV6})
	}
	return list
}

// inside sets up the container's end.
func (r *Relay) inside() error {
	if err := loopback(); err != nil {
		return err
	}
	writeSysctl("/proc/sys/net/ipv6/conf/eth0/accept_ra", "0")
	if err := address("eth0", r.IP, r.Gateway); err != nil || !r.IP6.IsValid() {
		return err
	}
	return address("eth0", r.IP6, r.gateway6)
}

// address gives a device its address, starts it and, where there is a gateway, makes it the way out.
func address(device string, p netip.Prefix, gateway netip.Addr) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	ip := p.Addr().AsSlice()
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(p.Bits(), len(ip)*8)}}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD // nobody else is on this wire
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("give %s its address: %w", device, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("start %s: %w", device, err)
	}
	if !gateway.IsValid() {
		return nil
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}

// listen opens the sockets that everything ends in, and begins to serve them.
func (r *Relay) listen() error {
	transparent := func(f family) net.ListenConfig {
		return net.ListenConfig{Control: func(_, _ string, c syscallConn) error { return control(c, f) }}
	}
	var ports []rulePorts
	for _, f := range r.families() {
		config := transparent(f)
		l, err := config.Listen(r.ctx, f.tcp, f.any)
		if err != nil {
			return fmt.Errorf("listen transparently: %w", err)
		}
		r.closers = append(r.closers, l.Close)
		p, err := config.ListenPacket(r.ctx, f.udp, f.any)
		if err != nil {
			return fmt.Errorf("listen transparently: %w", err)
		}
		r.closers = append(r.closers, p.Close)
		r.tasks.Go(func() { r.gate.serve(l) })
		r.tasks.Go(func() { r.serveUDP(p.(*net.UDPConn)) })
		ports = append(ports, rulePorts{f.nf, port(l.Addr()), port(p.LocalAddr())})
	}
	if err := r.rules(ports); err != nil {
		return err
	}
	return r.openGate()
}

func port(a net.Addr) uint16 { return netip.MustParseAddrPort(a.String()).Port() }
