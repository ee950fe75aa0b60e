//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// gate lets connections of a container begin when their other half is there. It sees the segment that begins one on the
// wire, where a rule drops it; connects from the host; then puts the same segment into the relay's namespace again, for
// the kernel to answer, or answers with a refusal.
type gate struct {
	connect func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error)
	wire    *os.File
	// again puts packets into the namespace, back sends them to the container; one of each per family.
	again, back map[bool]int

	mu      sync.Mutex // guards pending
	pending map[flow]*half
}

// half is the host's half of a connection that waits for the container's; nil while it is being made.
type half struct {
	conn   *net.TCPConn
	forget *time.Timer
}

// connectTime is how long the host tries; the container's own patience may end earlier.
const connectTime = 2 * time.Minute

// maxPending bounds how many connections are being made at once.
const maxPending = 2048

// openGate makes the gate's sockets in the relay's namespace, where the caller is, and starts it.
func (r *Relay) openGate() error {
	g := &r.gate
	g.mu.Lock()
	g.pending, g.again, g.back = map[flow]*half{}, map[bool]int{}, map[bool]int{}
	g.mu.Unlock()
	g.connect = r.connect
	for _, f := range r.families() {
		for _, one := range []struct {
			to   map[bool]int
			mark int
		}{{g.again, caught}, {g.back, 0}} {
			fd, err := unix.Socket(f.af, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
			if err != nil {
				return fmt.Errorf("open raw socket: %w", err)
			}
			r.closers = append(r.closers, func() error { return unix.Close(fd) })
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, one.mark); err != nil {
				return fmt.Errorf("mark packets: %w", err)
			}
			one.to[f.af == unix.AF_INET6] = fd
		}
	}
	if err := g.listen(); err != nil {
		return fmt.Errorf("watch packets: %w", err)
	}
	r.closers = append(r.closers, g.drop, g.wire.Close)
	r.tasks.Go(func() { g.watch(r.ctx, &r.tasks) })
	return nil
}

// listen opens a socket that sees the beginnings of connections on the device up.
func (g *gate) listen() error {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	g.wire = os.NewFile(uintptr(fd), "wire")
	up, err := net.InterfaceByName("up")
	if err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(beginnings)), Filter: &beginnings[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: up.Index})
}

// beginnings passes incoming segments with SYN and without ACK, of both families, as IP packets.
var beginnings = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0xfffff004}, // 0: the packet's type
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 14, K: unix.PACKET_OUTGOING},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 0}, // 2: version
	{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 4},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 5, K: 4},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // 5: protocol of version 4
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 9, K: unix.IPPROTO_TCP},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13}, // 8: flags
	{Code: unix.BPF_JMP | unix.BPF_JA, K: 4},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 5, K: 6},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6}, // 11: next header of version 6
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 3, K: unix.IPPROTO_TCP},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 53}, // 13: flags
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: tcpSYN | tcpACK},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, Jf: 0, K: tcpSYN},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 2048},
}

func (g *gate) watch(ctx context.Context, tasks *sync.WaitGroup) {
	buf := make([]byte, 2048)
	for {
		n, err := g.wire.Read(buf)
		if err != nil {
			return
		}
		s, ok := parseSegment(append([]byte{}, buf[:n]...))
		if !ok || !g.claim(s.flow) {
			continue
		}
		tasks.Go(func() { g.begin(ctx, s) })
	}
}

// claim notes that a connection is being made; false when it is already, or there are too many.
func (g *gate) claim(f flow) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.pending[f]; known || len(g.pending) >= maxPending {
		return false
	}
	g.pending[f] = nil
	return true
}

// take gives the host's half of a connection to its first caller.
func (g *gate) take(f flow) *net.TCPConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.pending[f]
	delete(g.pending, f)
	if h == nil {
		return nil
	}
	h.forget.Stop()
	return h.conn
}

// put keeps it for a while: whom nobody takes, because the container went away, is given up.
func (g *gate) put(f flow, conn *net.TCPConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := &half{conn: conn}
	h.forget = time.AfterFunc(10*time.Second, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.pending[f] == h {
			delete(g.pending, f)
			conn.Close()
		}
	})
	g.pending[f] = h
}

// drop gives up what waits.
func (g *gate) drop() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for f, h := range g.pending {
		if h != nil {
			h.forget.Stop()
			h.conn.Close()
		}
		delete(g.pending, f)
	}
	return nil
}

func (g *gate) begin(ctx context.Context, s segment) {
	conn, err := g.connect(ctx, s.to)
	if err != nil {
		g.take(s.flow)
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() {
			g.send(g.back, s.from, s.refusal())
		}
		return
	}
	g.put(s.flow, conn)
	g.send(g.again, s.to, s.whole())
}

func (g *gate) send(through map[bool]int, to netip.AddrPort, packet []byte) {
	if to.Addr().Is6() {
		unix.Sendto(through[true], packet, 0, &unix.SockaddrInet6{Addr: to.Addr().As16()})
		return
	}
	unix.Sendto(through[false], packet, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
}

// serve takes the connections that the kernel has accepted and joins them with their other halves.
func (g *gate) serve(l net.Listener) {
	var open sync.WaitGroup
	var mu sync.Mutex // guards all
	all := map[net.Conn]bool{}
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // out of descriptors: those in use must end first
			continue
		}
		inner := conn.(*net.TCPConn)
		outer := g.take(flow{plainAddr(conn.RemoteAddr()), plainAddr(conn.LocalAddr())})
		if outer == nil {
			inner.SetLinger(0)
			inner.Close()
			continue
		}
		mu.Lock()
		all[inner], all[outer] = true, true
		mu.Unlock()
		open.Go(func() {
			join(inner, outer)
			mu.Lock()
			delete(all, inner)
			delete(all, outer)
			mu.Unlock()
		})
	}
	mu.Lock()
	for c := range all {
		c.Close()
	}
	mu.Unlock()
	open.Wait()
}

func plainAddr(a net.Addr) netip.AddrPort {
	p := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// connect makes the host's half.
func (r *Relay) connect(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	where, err := r.target(to)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: connectTime}
	conn, err := d.DialContext(ctx, "tcp", where.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// join carries bytes both ways, each direction ending by itself (a client may close its side and still wait for the
// answer). On Linux io.Copy between sockets is splice: no byte passes through this process.
func join(a, b *net.TCPConn) {
	defer a.Close()
	defer b.Close()
	var both sync.WaitGroup
	half := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			to.SetLinger(0)
			to.Close()
			return
		}
		to.CloseWrite()
	}
	both.Go(func() { half(a, b) })
	both.Go(func() { half(b, a) })
	both.Wait()
}
