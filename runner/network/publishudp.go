//go:build linux

package network

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long an exchange of datagrams with a port may rest before it
// is forgotten. A resolver answers soon or never, and each question is an
// exchange of its own: those of a busy container would be too many.
func patience(port uint16) time.Duration {
	if port == 53 {
		return 10 * time.Second
	}
	return 90 * time.Second
}

// udpPeer is a client of a published port: where it is, and the control message that
// makes an answer come from the address that it spoke to. A socket of all addresses
// would answer from the one that the route has.
type udpPeer struct {
	at   netip.AddrPort
	from string
}

// tellAddresses makes a socket tell to which address each datagram came.
func tellAddresses(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	v4 := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Is4()
	cerr := raw.Control(func(fd uintptr) {
		if v4 {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	return errors.Join(cerr, err)
}

// answerFrom turns what came with a datagram into what goes with the answer: the
// same address, by whatever device the route has (a local one needs its own).
func answerFrom(control []byte) string {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) != 1 {
		return ""
	}
	switch m := messages[0]; {
	case m.Header.Level == unix.IPPROTO_IP && len(m.Data) >= unix.SizeofInet4Pktinfo:
		return string(unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[4:8])}))
	case m.Header.Level == unix.IPPROTO_IPV6 && len(m.Data) >= unix.SizeofInet6Pktinfo:
		info := unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])}
		if netip.AddrFrom16(info.Addr).IsLinkLocalUnicast() {
			return string(control)
		}
		return string(unix.PktInfo6(&info))
	}
	return ""
}

// serveUDP keeps one socket per client towards the container, so that answers
// find their way back.
func (p *Publisher) serveUDP(conn *net.UDPConn, target netip.AddrPort) {
	var mu sync.Mutex // guards peers
	peers := map[udpPeer]net.Conn{}
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, peer := range peers {
			peer.Close()
		}
	}()
	idle := patience(target.Port())
	buf, control := make([]byte, 64<<10), make([]byte, 128)
	for {
		n, cn, _, from, err := conn.ReadMsgUDPAddrPort(buf, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		client := udpPeer{from, answerFrom(control[:cn])}
		mu.Lock()
		peer := peers[client]
		if peer == nil && len(peers) < 4096 {
			if peer, err = p.dial("udp", target); err == nil {
				peers[client] = peer
				go func() {
					answerUDP(conn, peer, client, idle)
					mu.Lock()
					delete(peers, client)
					mu.Unlock()
				}()
			}
		}
		mu.Unlock()
		if peer != nil {
			peer.SetReadDeadline(time.Now().Add(idle))
			peer.Write(buf[:n])
		}
	}
}

func answerUDP(conn *net.UDPConn, peer net.Conn, client udpPeer, idle time.Duration) {
	defer peer.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := peer.Read(buf)
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return
		}
		peer.SetReadDeadline(time.Now().Add(idle))
		conn.WriteMsgUDPAddrPort(buf[:n], []byte(client.from), client.at)
	}
}
