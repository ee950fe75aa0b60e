//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/network"
)

// execStreams connects a command's stdio: files are handed over as they are,
// other readers and writers are copied through pipes.
type execStreams struct {
	child  [3]*os.File
	ours   []*os.File // ends of pipes that the child gets; closed once it runs
	copies []func() error
	group  errgroup.Group
	c      Command
	in     *os.File
}

func newStreams(c Command) (*execStreams, error) {
	s := &execStreams{c: c}
	if c.TTY {
		return s, nil
	}
	if f, ok := c.Stdin.(*os.File); ok {
		s.child[0] = f
	} else if c.Stdin != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("make pipe: %w", err)
		}
		s.child[0], s.ours, s.in = r, append(s.ours, r), w
	}
	var err error
	if s.child[1], err = s.output(c.Stdout); err != nil {
		return nil, err
	}
	if c.Stderr != nil && c.Stderr == c.Stdout { // one pipe keeps their order
		s.child[2] = s.child[1]
		return s, nil
	}
	s.child[2], err = s.output(c.Stderr)
	return s, err
}

// give makes the command's user the owner of its pipes, who may open /dev/stdout again.
func (s *execStreams) give(uid, gid int) error {
	if userns.Here() == userns.Single {
		return nil
	}
	for _, f := range s.ours {
		if err := f.Chown(uid, gid); err != nil {
			return fmt.Errorf("make pipe: %w", err)
		}
	}
	return nil
}

func (s *execStreams) output(w io.Writer) (*os.File, error) {
	if w == nil {
		return nil, nil
	}
	if f, ok := w.(*os.File); ok {
		return f, nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	s.ours = append(s.ours, write)
	s.copies = append(s.copies, func() error {
		defer read.Close()
		_, err := io.Copy(w, read)
		return err
	})
	return write, nil
}

// start begins to copy. Input is copied by a goroutine that nobody waits for:
// it ends with its source or with the pipe.
func (s *execStreams) start(console *os.File) {
	for _, f := range s.ours {
		f.Close()
	}
	s.ours = nil
	if console != nil {
		if s.c.Stdin != nil {
			go io.Copy(console, s.c.Stdin)
		}
		s.copies = append(s.copies, func() error {
			out := s.c.Stdout
			if out == nil {
				out = io.Discard
			}
			_, err := io.Copy(out, console)
			if errors.Is(err, unix.EIO) || errors.Is(err, fs.ErrClosed) { // the other side is gone
				return nil
			}
			return err
		})
	}
	if s.in != nil {
		go func() {
			defer s.in.Close()
			_, _ = io.Copy(s.in, s.c.Stdin) // a reader that ends early is the command's choice
		}()
	}
	for _, c := range s.copies {
		s.group.Go(c)
	}
}

func (s *execStreams) wait() error { return s.group.Wait() }

func (s *execStreams) close() {
	for _, f := range s.ours {
		f.Close()
	}
}

// networkDir holds the address leases of the machine's one bridge.
const networkDir = "/run/hod/network"

// Network makes the network that the commands of one build share: "none" (nil),
// "host", or "default", a private one that reaches out, and with toHost the host
// at the gateway's address.
func (r *Runner) Network(ctx context.Context, mode string, toHost bool) (*Network, error) {
	switch mode {
	case "none":
		return nil, nil
	case "host":
		return &Network{host: true, gateway: "127.0.0.1"}, nil
	case "", "default", "private", "bridge":
	default:
		return nil, fmt.Errorf("unknown network mode %q: none, host or default", mode)
	}
	if userns.Here() != userns.Root {
		return relayed(network.Options{ToHost: toHost})
	}
	bridge, err := network.Open(ctx, networkDir)
	if err != nil {
		return nil, fmt.Errorf("%w (--network host or none does without)", err)
	}
	ns, err := network.NewNamespace()
	if err != nil {
		return nil, err
	}
	end, err := bridge.Connect(ns, network.Options{ToHost: toHost})
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	made := &Network{ns: ns, gateway: end.Gateway.String(), cancel: func() error { return errors.Join(end.Close(), ns.Close()) }}
	if !hasOnlyLoopbackResolvers() {
		return made, nil
	}
	forwarder, err := network.Forward(ns)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("forward to the host's resolver: %w", err), made.Close())
	}
	made.resolver = network.Forwarder
	made.cancel = func() error { return errors.Join(forwarder.Close(), end.Close(), ns.Close()) }
	return made, nil
}

// relayed is the private network of who is not root.
func relayed(o network.Options) (*Network, error) {
	ns, err := network.NewNamespace()
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("%w: the kernel gives this user no namespace of their own; RUN --network=none or --network host does without", err)
	}
	if err != nil {
		return nil, err
	}
	relay, err := network.NewRelay(ns, o)
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	gateway := relay.Gateway.String()
	return &Network{ns: ns, gateway: gateway, resolver: gateway, cancel: func() error { return errors.Join(relay.Close(), ns.Close()) }}, nil
}

// networkFiles mounts /etc/hosts, and with a network /etc/resolv.conf, over the
// image's. Their times are fixed: a command may not see when it runs.
func (c Command) networkFiles(s *specs.Spec, dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, h := range c.ExtraHosts {
		name, ip, ok := strings.Cut(h, "=")
		if !ok {
			name, ip, ok = strings.Cut(h, ":")
		}
		if ip = strings.Trim(ip, "[]"); ip == hostGateway {
			if c.Network == nil {
				continue // it is for the steps with a network
			}
			ip = c.Network.gateway
		}
		if _, err := netip.ParseAddr(ip); !ok || err != nil {
			return fmt.Errorf("extra host %q: not of the form name:address", h)
		}
		hosts += ip + "\t" + name + "\n"
	}
	files := map[string]string{"hosts": hosts}
	if c.Network != nil {
		files["resolv.conf"] = c.Network.resolvers()
	}
	names := make([]string, 0, 2)
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(files[name]), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		_ = os.Chmod(file, 0o644)
		when := time.Unix(315532800, 0)
		if err := os.Chtimes(file, when, when); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc/" + name, Type: "bind", Source: file, Options: []string{"bind", "rprivate"}})
	}
	return nil
}

// resolvers is the host's resolv.conf. In a network of its own a command does
// not reach a resolver on the host's loopback, so the ones behind it are used.
func (n *Network) resolvers() string {
	text, _ := os.ReadFile("/etc/resolv.conf")
	c := parseResolv(string(text))
	switch {
	case n.host:
		return string(text)
	case n.resolver != "":
		c.servers = []string{n.resolver}
	default:
		c.reachable()
	}
	return c.String()
}
