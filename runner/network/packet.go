//go:build linux

package network

import (
	"encoding/binary"
	"net/netip"
)

const (
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// segment is the TCP segment of an IP packet without extension headers.
type segment struct {
	flow
	ip, tcp []byte // the headers
}

// parseSegment reads a packet that begins with its IP header.
func parseSegment(p []byte) (s segment, ok bool) {
	if len(p) < 20 {
		return s, false
	}
	var from, to netip.Addr
	head := 40
	switch {
	case p[0]>>4 == 4:
		head = int(p[0]&0xf) * 4
		if head < 20 || p[9] != 6 {
			return s, false
		}
		from, to = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	case p[0]>>4 == 6 && len(p) >= 40 && p[6] == 6:
		from, to = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	default:
		return s, false
	}
	if len(p) < head+20 {
		return s, false
	}
	s.ip, s.tcp = p[:head], p[head:]
	s.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(s.tcp))
	s.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(s.tcp[2:]))
	return s, true
}

// whole is the packet again, with the sum that a device without a wire leaves out.
func (s segment) whole() []byte {
	packet := append(append([]byte{}, s.ip...), s.tcp...)
	tcp := packet[len(s.ip):]
	tcp[16], tcp[17] = 0, 0
	binary.BigEndian.PutUint16(tcp[16:], tcpSum(s.from.Addr(), s.to.Addr(), tcp))
	return packet
}

func tcpSum(from, to netip.Addr, tcp []byte) uint16 {
	pseudo := append(from.AsSlice(), to.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint16(append(pseudo, 0, 6), uint16(len(tcp)))
	pseudo = append(pseudo, tcp...)
	if len(pseudo)%2 == 1 {
		pseudo = append(pseudo, 0)
	}
	return checksum(pseudo)
}

// refusal is the packet that refuses the connection that s begins (RFC 9293, 3.10.7.1).
func (s segment) refusal() []byte {
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp, s.to.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.from.Port())
	binary.BigEndian.PutUint32(tcp[8:], binary.BigEndian.Uint32(s.tcp[4:])+1)
	tcp[12], tcp[13] = 5<<4, tcpRST|tcpACK
	from, to := s.to.Addr().AsSlice(), s.from.Addr().AsSlice()
	binary.BigEndian.PutUint16(tcp[16:], tcpSum(s.to.Addr(), s.from.Addr(), tcp))
	if s.to.Addr().Is4() {
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, 6
		binary.BigEndian.PutUint16(ip[2:], 40)
		copy(ip[12:], from)
		copy(ip[16:], to)
		return append(ip, tcp...) // the kernel adds the header's sum
	}
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, 6, 64
	binary.BigEndian.PutUint16(ip[4:], 20)
	copy(ip[8:], from)
	copy(ip[24:], to)
	return append(ip, tcp...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
