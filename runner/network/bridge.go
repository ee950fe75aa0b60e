//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bridge is the host's side of all private networks of one store.
type Bridge struct {
	dir    string
	link   netlink.Link
	prefix netip.Prefix // with the gateway's address
}

// Name of the bridge. Stores share it: what is bound to a store is only the
// folder of address locks, and that is one per machine.
const Name = "hod0"

// Open finds the bridge, or makes it with its address and its rules. dir holds
// the locks and is the same for all stores of the machine. It needs root.
func Open(ctx context.Context, dir string) (*Bridge, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	lock, err := lockfile.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	defer lock.Close()
	if err := lock.Exclusive(ctx); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	b := &Bridge{dir: dir}
	if err := b.find(); err != nil {
		return nil, err
	}
	if err := b.rules(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bridge) find() error {
	link, err := netlink.LinkByName(Name)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return b.make()
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", Name, err)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", Name, err)
	}
	b.link = link
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			bits, _ := a.Mask.Size()
			b.prefix = netip.PrefixFrom(ip, bits)
			return b.up()
		}
	}
	return b.address()
}

func (b *Bridge) make() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Name
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := addLink(bridge); err != nil {
		return fmt.Errorf("make bridge %s: %w", Name, err)
	}
	link, err := netlink.LinkByName(Name)
	if err != nil {
		return fmt.Errorf("make bridge %s: %w", Name, err)
	}
	b.link = link
	return b.address()
}

// subnets are tried in turn until one meets no route of the host.
var subnets = [...]string{
	"10.231.0.1/16", "10.232.0.1/16", "172.29.0.1/16", "172.30.0.1/16", "192.168.231.1/24", "192.168.232.1/24",
}

func (b *Bridge) address() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("choose subnet: %w", err)
	}
	for _, s := range subnets {
		p := netip.MustParsePrefix(s)
		if routed(routes, p) {
			continue
		}
		addr, err := netlink.ParseAddr(s)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(b.link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("give bridge its address: %w", err)
		}
		b.prefix = p
		return b.up()
	}
	return errors.New("choose subnet: every subnet that hod knows is routed on this host; use --network host or none")
}

func routed(routes []netlink.Route, p netip.Prefix) bool {
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		ip, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		bits, _ := r.Dst.Mask.Size()
		if ok && bits > 0 && netip.PrefixFrom(ip, bits).Overlaps(p) {
			return true
		}
	}
	return false
}

func (b *Bridge) up() error {
	if err := netlink.LinkSetUp(b.link); err != nil {
		return fmt.Errorf("start bridge: %w", err)
	}
	// Router advertisements of a container must not change the host's routes.
	writeSysctl("/proc/sys/net/ipv6/conf/"+Name+"/accept_ra", "0")
	if err := writeSysctl("/proc/sys/net/ipv4/ip_forward", "1"); err != nil {
		return fmt.Errorf("allow forwarding: %w", err)
	}
	return nil
}

// writeSysctl writes a value unless it is there already: a read-only /proc is
// then no obstacle.
func writeSysctl(path, value string) error {
	if old, err := os.ReadFile(path); err == nil && len(old) > 0 && string(old[:len(old)-1]) == value {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0)
}

// Gateway is the bridge's own address.
func (b *Bridge) Gateway() netip.Addr { return b.prefix.Addr() }
