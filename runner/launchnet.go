//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/network"
)

// unplug removes the host's end of a device pair that a dead monitor left.
func unplug(link string) { network.Unplug(link) }

// connection is what connects a container with a network.
type connection struct {
	state     NetworkState
	endpoint  *network.Endpoint
	relay     *network.Relay
	publisher *network.Publisher
	forwarder *network.Publisher
}

func (n *connection) close() error {
	var errs []error
	for _, p := range []*network.Publisher{n.publisher, n.forwarder} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	if n.endpoint != nil {
		errs = append(errs, n.endpoint.Close())
	}
	if n.relay != nil {
		errs = append(errs, n.relay.Close())
	}
	return errors.Join(errs...)
}

// mode is the network asked for in one word.
func (o *ContainerOptions) mode() string {
	switch o.Network {
	case "", "default", "bridge":
		return "private"
	}
	return o.Network
}

// connection is what the flags say of a private one.
func (o *ContainerOptions) connection() network.Options {
	return network.Options{IP: o.IP, MAC: o.MAC, ToHost: slices.ContainsFunc(o.ExtraHosts, namesHost)}
}

// namesHost says whether a word of --add-host gives the host itself a name.
func namesHost(word string) bool {
	i := strings.IndexAny(word, ":=")
	return i > 0 && word[i+1:] == hostGateway
}

// hostGateway is docker's word for the host's address as a container has it.
const hostGateway = "host-gateway"

// PrivateNetwork says whether the container has a network of its own that
// reaches out.
func (o *ContainerOptions) PrivateNetwork() bool { return o.mode() == "private" }

// resolveNames turns what names another container into what the specification
// knows, and refuses what this user cannot have.
func (l *launch) resolveNames(ctx context.Context) error {
	if err := l.resolveShared(ctx); err != nil {
		return err
	}
	if ref, shared := strings.CutPrefix(l.o.Network, "container:"); shared {
		return l.share(ctx, ref)
	}
	if l.o.mode() == "private" {
		l.o.Network = "private"
	}
	if l.o.Hostname == "" && l.o.UTSNS != "host" && l.o.mode() != "host" {
		l.o.Hostname = l.c.ShortID()
	}
	if l.o.mode() == "host" && l.o.Hostname == "" {
		l.o.Hostname, _ = os.Hostname()
	}
	return nil
}

// share takes part in the network of another container, with its names.
func (l *launch) share(ctx context.Context, ref string) error {
	cs := &Containers{dir: filepath.Dir(l.c.Dir)}
	other, s, err := cs.mustRun(ctx, ref)
	if err != nil {
		return err
	}
	l.shared, l.sharedPid = other, s.Pid
	// The child is born there: the specification says nothing of it.
	l.o.Network = "host"
	l.o.Hostname = other.Options.Hostname
	if l.o.Hostname == "" {
		l.o.Hostname = other.ShortID()
	}
	return nil
}

// joinNetwork opens the namespace of the container whose network is shared.
func (l *launch) joinNetwork() (*os.File, error) {
	if l.shared == nil {
		return nil, nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", l.sharedPid))
	if err != nil {
		return nil, fmt.Errorf("join network of container %s: %w", l.shared.Name, err)
	}
	return f, nil
}

// connect gives the waiting child its network and publishes its ports.
func (l *launch) connect(ctx context.Context) error {
	l.net = &connection{state: NetworkState{Mode: l.c.Options.mode()}}
	switch l.net.state.Mode {
	case "private":
		return l.connectPrivate(ctx)
	}
	return nil
}

func (l *launch) netns() (*os.File, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", l.process.PID()))
	if err != nil {
		return nil, fmt.Errorf("connect network: %w", err)
	}
	return ns, nil
}

func (l *launch) connectPrivate(ctx context.Context) error {
	ns, err := l.netns()
	if err != nil {
		return err
	}
	defer ns.Close()
	if userns.Here() != userns.Root {
		return l.connectRelay(ns)
	}
	bridge, err := network.Open(ctx, filepath.Join(runDir, "network"))
	if err != nil {
		return err
	}
	e, err := bridge.Connect(ns, l.o.connection())
	if err != nil {
		return err
	}
	l.net.endpoint = e
	s := &l.net.state
	s.Bridge, s.Link, s.IPv4, s.Gateway, s.MAC = network.Name, e.Link, e.Prefix.String(), e.Gateway.String(), e.MAC
	if err := l.writeHosts(e.IP); err != nil {
		return err
	}
	if hasOnlyLoopbackResolvers() && len(l.o.DNS) == 0 {
		if l.net.forwarder, err = network.Forward(ns); err != nil {
			return fmt.Errorf("forward to the host's resolver: %w", err)
		}
		if err := l.resolveBy(network.Forwarder); err != nil {
			return err
		}
	}
	return l.publish(e.IP, network.Direct)
}

// resolveBy writes resolv.conf with the one resolver that there is.
func (l *launch) resolveBy(forwarder string) error {
	text, err := l.resolvConf(forwarder)
	if err != nil {
		return err
	}
	return l.writeFile("resolv.conf", text)
}

// connectRelay is the private network of who is not root.
func (l *launch) connectRelay(ns *os.File) error {
	relay, err := network.NewRelay(ns, l.o.connection())
	if err != nil {
		return err
	}
	l.net.relay = relay
	s := &l.net.state
	s.IPv4, s.Gateway, s.MAC = relay.IP.String(), relay.Gateway.String(), relay.MAC
	if relay.IP6.IsValid() {
		s.IPv6 = relay.IP6.String()
	}
	if err := l.writeHosts(relay.IP.Addr()); err != nil {
		return err
	}
	if err := l.resolveBy(s.Gateway); err != nil {
		return err
	}
	return l.publish(relay.IP.Addr(), relay.Dial)
}

func (l *launch) publish(to netip.Addr, dial network.Dial) error {
	var ports []network.Port
	for _, p := range append(append([]PortMapping{}, l.o.Ports...), l.exposed()...) {
		ports = append(ports, network.Port(p))
	}
	p, err := network.Publish(ports, to, dial)
	if err != nil {
		return err
	}
	l.net.publisher = p
	for _, port := range p.Ports {
		l.net.state.Ports = append(l.net.state.Ports, PortMapping(port))
	}
	return nil
}

// exposed are the ports that -P publishes: the image's and --expose's, each on
// a free port of the host.
func (l *launch) exposed() []PortMapping {
	if !l.o.PublishAll {
		return nil
	}
	seen := map[string]bool{}
	for p := range l.c.Config.ExposedPorts {
		if list, err := ParseExpose(p); err == nil {
			for _, p := range list {
				seen[p] = true
			}
		}
	}
	for _, p := range l.o.Expose {
		seen[p] = true
	}
	for _, p := range l.o.Ports {
		delete(seen, fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol))
	}
	var names []string
	for p := range seen {
		names = append(names, p)
	}
	sort.Strings(names)
	var out []PortMapping
	for _, name := range names {
		if list, err := ParsePort(name); err == nil {
			out = append(out, list...)
		}
	}
	return out
}
