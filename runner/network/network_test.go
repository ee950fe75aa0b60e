//go:build linux

package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/granted"
	"github.com/vishvananda/netlink"
)

// TestMain runs the suite in a network namespace of its own, whose rules,
// devices and ports are nobody else's.
func TestMain(m *testing.M) {
	if !granted.Root() || os.Getenv("HOD_TEST_NETNS") != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "HOD_TEST_NETNS=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
}

func open(t *testing.T) *Bridge {
	t.Helper()
	granted.NeedRoot(t, "makes a bridge")
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func connect(t *testing.T, b *Bridge) (*os.File, *Endpoint) {
	t.Helper()
	ns, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	e, err := b.Connect(ns, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return ns, e
}

// echo answers each connection with the bytes "hello" and what it reads.
func echo(t *testing.T, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, "hello ")
				io.Copy(c, c)
			}()
		}
	}()
}

func listenIn(t *testing.T, ns *os.File, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	var err error
	if inErr := In(ns, func() { l, err = net.Listen("tcp", addr) }); inErr != nil || err != nil {
		t.Fatal(inErr, err)
	}
	echo(t, l)
	return l
}

func dialIn(ns *os.File, addr string, patience time.Duration) error {
	var err error
	if inErr := In(ns, func() {
		var c net.Conn
		if c, err = (&net.Dialer{Timeout: patience}).Dial("tcp", addr); err == nil {
			c.Close()
		}
	}); inErr != nil {
		return inErr
	}
	return err
}

func talk(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	io.WriteString(c, "world")
	c.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(c)
	return string(answer)
}

func TestPrivateNetworkReachesNeighbourButNotHost(t *testing.T) {
	b := open(t)
	ns, _ := connect(t, b)
	other, e2 := connect(t, b)
	listenIn(t, other, ":80")
	if err := dialIn(ns, netip.AddrPortFrom(e2.IP, 80).String(), 10*time.Second); err != nil {
		t.Errorf("neighbour: %v", err)
	}
	host, err := net.Listen("tcp", ":8088")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, host)
	if got := talk(t, "127.0.0.1:8088"); got != "hello world" {
		t.Fatalf("host itself: %q", got)
	}
	for _, addr := range []string{"127.0.0.1:8088", netip.AddrPortFrom(b.Gateway(), 8088).String()} {
		if err := dialIn(ns, addr, 500*time.Millisecond); err == nil {
			t.Errorf("container reaches the host's service at %s", addr)
		}
	}
}

// Who asked for the host reaches it at the gateway's address, but not its loopback; who has the address next does not,
// also where the first one was killed.
func TestHostIsReachedWhereAsked(t *testing.T) {
	b := open(t)
	for _, addr := range []string{":8092", "127.0.0.1:8093"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		echo(t, l)
	}
	at := func(port uint16) string { return netip.AddrPortFrom(b.Gateway(), port).String() }
	var first netip.Addr
	for _, o := range []Options{{ToHost: true}, {}, {ToHost: true}} {
		ns, err := NewNamespace()
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		e, err := b.Connect(ns, o)
		if err != nil {
			t.Fatal(err)
		}
		if first.IsValid() && e.IP != first {
			t.Fatalf("address %s is not %s again", e.IP, first)
		}
		first = e.IP
		patience := 500 * time.Millisecond
		if o.ToHost {
			patience = 10 * time.Second
		}
		if err := dialIn(ns, at(8092), patience); (err == nil) != o.ToHost {
			t.Errorf("%+v: the host: %v", o, err)
		}
		if err := dialIn(ns, at(8093), patience); err == nil {
			t.Errorf("%+v: the host's loopback answers", o)
		}
		if o.ToHost { // killed: the kernel ends the lease, the next hod removes the device
			e.lease.Close()
			if err := Unplug(e.Link); err != nil {
				t.Fatal(err)
			}
		} else if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEgressIsMasqueraded stands a router's far side behind the host: a server
// there must see the host's address, not the container's.
func TestEgressIsMasqueraded(t *testing.T) {
	b := open(t)
	ns, _ := connect(t, b)
	far, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "far0", PeerNamespace: netlink.NsFd(far.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	setup := func(name, addr string) {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Error(err)
			return
		}
		a, _ := netlink.ParseAddr(addr)
		netlink.AddrAdd(link, a)
		if err := netlink.LinkSetUp(link); err != nil {
			t.Error(err)
		}
	}
	setup("up0", "203.0.113.1/24")
	In(far, func() { setup("far0", "203.0.113.2/24") })
	var l net.Listener
	In(far, func() { l, err = net.Listen("tcp", "203.0.113.2:80") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := make(chan string, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			seen <- c.RemoteAddr().String()
			c.Close()
		}
	}()
	if err := dialIn(ns, "203.0.113.2:80", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if from := <-seen; !strings.HasPrefix(from, "203.0.113.1:") {
		t.Errorf("server saw %s", from)
	}
}

func TestPublishTCPAndUDP(t *testing.T) {
	b := open(t)
	ns, e := connect(t, b)
	listenIn(t, ns, ":80")
	p, err := Publish([]Port{
		{Protocol: "tcp", HostIP: "127.0.0.1", HostPort: 8081, ContainerPort: 80},
		{Protocol: "tcp", HostIP: "::1", ContainerPort: 80},
		{Protocol: "udp", ContainerPort: 53},
	}, e.IP, Direct)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := talk(t, "127.0.0.1:8081"); got != "hello world" {
		t.Errorf("127.0.0.1: %q", got)
	}
	if got := talk(t, netip.AddrPortFrom(netip.IPv6Loopback(), p.Ports[1].HostPort).String()); got != "hello world" {
		t.Errorf("::1: %q", got)
	}
	// Asked for 127.0.0.1 only: no other address answers.
	if got := talk(t, netip.AddrPortFrom(b.Gateway(), 8081).String()); strings.Contains(got, "hello") {
		t.Errorf("published on 127.0.0.1 but answers on %s", b.Gateway())
	}
	if _, err := Publish([]Port{{Protocol: "tcp", HostIP: "127.0.0.1", HostPort: 8081, ContainerPort: 80}}, e.IP, Direct); err == nil || !strings.Contains(err.Error(), "already allocated") {
		t.Errorf("taken port: %v", err)
	}
	answerDatagrams(t, ns, ":53")
	asked(t, p.Ports[2].HostPort, "127.0.0.1", "127.0.0.2", "::1", b.Gateway().String())
}

// asked sends a datagram to a port on each of the addresses, from where the answer
// must come, and none of which the route would choose in place of another.
func asked(t *testing.T, port uint16, addresses ...string) {
	t.Helper()
	for _, ip := range addresses {
		c, err := net.Dial("udp", net.JoinHostPort(ip, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, "ping")
		buf := make([]byte, 64)
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "re:ping" {
			t.Errorf("udp %s: %q %v", ip, buf[:n], err)
		}
	}
}

// TestNothingIsLeft looks only at what it made: the devices of other tests go when the kernel gets round to it.
func TestNothingIsLeft(t *testing.T) {
	b := open(t)
	for range 50 {
		ns, err := NewNamespace()
		if err != nil {
			t.Fatal(err)
		}
		e, err := b.Connect(ns, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if e.IP.String() != b.Gateway().Next().String() {
			t.Fatalf("address %s was not given back", e.IP)
		}
		if _, err := netlink.LinkByName(e.Link); err != nil {
			t.Fatalf("device %s while connected: %v", e.Link, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := netlink.LinkByName(e.Link); !errors.As(err, new(netlink.LinkNotFoundError)) {
			t.Errorf("device %s after the end: %v", e.Link, err)
		}
		ns.Close()
	}
}
