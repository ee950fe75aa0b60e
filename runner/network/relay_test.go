//go:build linux

package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/granted"
	"github.com/vishvananda/netlink"
)

// farSide is a host behind the host, with addresses of both families.
func farSide(t *testing.T) *os.File {
	t.Helper()
	granted.NeedRoot(t, "makes network namespaces")
	far, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	near := fmt.Sprintf("n%d", time.Now().UnixNano()%1e9)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near}, PeerName: "far0", PeerNamespace: netlink.NsFd(far.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Unplug(near) })
	give := func(device, four, six string) {
		for _, p := range []string{four, six} {
			if err := address(device, netip.MustParsePrefix(p), netip.Addr{}); err != nil {
				t.Error(err)
			}
		}
	}
	give(near, "198.51.100.1/24", "2001:db8::2/64")
	if err := In(far, func() { give("far0", "198.51.100.2/24", "2001:db8::1/64") }); err != nil {
		t.Fatal(err)
	}
	return far
}

func relay(t *testing.T) (*os.File, *Relay) {
	t.Helper()
	granted.NeedRoot(t, "makes network namespaces")
	ns, err := NewNamespace()
	if err := errors.Join(err, loopback()); err != nil {
		t.Fatal(err)
	}
	r, err := NewRelay(ns, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		ns.Close()
	})
	return ns, r
}

// talkIn sends "world" from a namespace, closes that side, and reads the answer.
func talkIn(t *testing.T, ns *os.File, addr string) (answer string) {
	t.Helper()
	if err := In(ns, func() { answer = talk(t, addr) }); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestRelayReachesOutInBothFamilies(t *testing.T) {
	far := farSide(t)
	ns, r := relay(t)
	listenIn(t, far, ":80")
	for _, addr := range []string{"198.51.100.2:80", "[2001:db8::1]:80"} {
		if got := talkIn(t, ns, addr); got != "hello world" {
			t.Errorf("%s: %q", addr, got)
		}
	}
	// A container that listens itself still speaks to the world.
	listenIn(t, ns, ":81")
	var err error
	In(ns, func() { _, err = net.DialTimeout("tcp", "198.51.100.2:81", 5*time.Second) })
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port of the far side: %v", err)
	}
	In(ns, func() { _, err = net.DialTimeout("tcp", "[2001:db8::1]:81", 5*time.Second) })
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port of the far side, version 6: %v", err)
	}
	if !r.IP6.IsValid() {
		t.Error("no address of version 6")
	}
}

func TestRelayKeepsHostOut(t *testing.T) {
	farSide(t)
	ns, r := relay(t)
	host, err := net.Listen("tcp", ":8090")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, host)
	for _, addr := range []string{"127.0.0.1:8090", "198.51.100.1:8090", "[2001:db8::2]:8090", netip.AddrPortFrom(r.Gateway, 8090).String()} {
		if got := talkIn(t, ns, addr); strings.Contains(got, "hello") {
			t.Errorf("the host answers at %s", addr)
		}
	}
	if got := talk(t, "198.51.100.1:8090"); got != "hello world" {
		t.Errorf("the twin: the host itself hears %q", got)
	}
}

func TestRelayCarriesDatagrams(t *testing.T) {
	far := farSide(t)
	ns, _ := relay(t)
	for _, server := range []string{"198.51.100.2:53", "[2001:db8::1]:53"} {
		answerDatagrams(t, far, server)
		var c net.Conn
		var err error
		In(ns, func() { c, err = net.Dial("udp", server) })
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 3 {
			c.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(c, "ping %d", i)
			buf := make([]byte, 100)
			n, err := c.Read(buf)
			if want := fmt.Sprintf("re:ping %d", i); err != nil || string(buf[:n]) != want {
				t.Errorf("%s: %q %v, want %q", server, buf[:n], err, want)
			}
		}
	}
}

func answerDatagrams(t *testing.T, ns *os.File, addr string) {
	t.Helper()
	var server net.PacketConn
	var err error
	In(ns, func() { server, err = net.ListenPacket("udp", addr) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(append([]byte("re:"), buf[:n]...), from)
		}
	}()
}

func TestRelayPublishes(t *testing.T) {
	ns, r := relay(t)
	listenIn(t, ns, ":80")
	answerDatagrams(t, ns, ":53")
	p, err := Publish([]Port{{Protocol: "tcp", HostIP: "127.0.0.1", ContainerPort: 80}, {Protocol: "tcp", HostIP: "::1", ContainerPort: 80},
		{Protocol: "udp", HostIP: "127.0.0.1", ContainerPort: 53}, {Protocol: "udp", ContainerPort: 53}}, r.IP.Addr(), r.Dial)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i, ip := range []string{"127.0.0.1", "::1"} {
		if got := talk(t, net.JoinHostPort(ip, fmt.Sprint(p.Ports[i].HostPort))); got != "hello world" {
			t.Errorf("%s: %q", ip, got)
		}
	}
	asked(t, p.Ports[2].HostPort, "127.0.0.1")
	asked(t, p.Ports[3].HostPort, "127.0.0.1", "127.0.0.2", "::1")
}

// TestRelayCarriesMuchAtOnce sends a megabyte through each of 64 connections.
func TestRelayCarriesMuchAtOnce(t *testing.T) {
	far := farSide(t)
	ns, _ := relay(t)
	listenIn(t, far, ":80")
	text := strings.Repeat("0123456789abcdef", 64<<10)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			In(ns, func() {
				c, err := net.DialTimeout("tcp", "198.51.100.2:80", 30*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				go func() {
					io.WriteString(c, text)
					c.(*net.TCPConn).CloseWrite()
				}()
				got, err := io.ReadAll(c)
				if err != nil || string(got) != "hello "+text {
					t.Errorf("%d bytes came back, %v", len(got), err)
				}
			})
		})
	}
	all.Wait()
}

func TestRefusalIsAWholePacket(t *testing.T) {
	syn := segment{flow: flow{netip.MustParseAddrPort("10.0.0.2:1000"), netip.MustParseAddrPort("192.0.2.1:80")}, tcp: make([]byte, 20)}
	syn.tcp[7] = 41
	p := syn.refusal()
	back, ok := parseSegment(p)
	if !ok || back.from != syn.to || back.to != syn.from || back.tcp[13] != tcpRST|tcpACK || back.tcp[11] != 42 {
		t.Errorf("%x parses as %+v", p, back)
	}
	if sum := tcpSum(back.from.Addr(), back.to.Addr(), back.tcp); sum != 0 {
		t.Errorf("checksum is off by %x", sum)
	}
	for _, bad := range [][]byte{nil, {0x45}, make([]byte, 40), p[:30], append([]byte{0x60}, make([]byte, 39)...)} {
		if _, ok := parseSegment(bad); ok {
			t.Errorf("%x is taken for a segment", bad)
		}
	}
}
