package compress

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// maxEmptyMembers bounds how many members without content may follow each other in a gzip stream.
const maxEmptyMembers = 1 << 10

var (
	errEmptyMembers = errors.New("too many empty members")
	errGzipHeader   = errors.New("invalid gzip header")
	errGzipSum      = errors.New("gzip checksum does not match")
)

// gzipReader reads the members of a gzip stream (RFC 1952) one by one, each verified by its checksum and length. It gives
// up on streams that are made of empty members.
type gzipReader struct {
	f     *inflater
	sum   uint32
	size  uint32
	empty int
	err   error
}

func newGzip(src io.Reader) (*gzipReader, error) {
	g := &gzipReader{f: newInflater(src)}
	if err := g.header(); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return g, nil
}

// Read decompresses.
func (g *gzipReader) Read(p []byte) (int, error) {
	for g.f.rp == g.f.op && len(p) > 0 {
		if g.err != nil {
			return 0, g.err
		}
		if g.err = g.f.next(); g.err == io.EOF {
			g.err = g.member()
			continue
		}
		fresh := g.f.out[g.f.rp:g.f.op]
		g.sum = crc32.Update(g.sum, crc32.IEEETable, fresh)
		g.size += uint32(len(fresh))
	}
	n := copy(p, g.f.out[g.f.rp:g.f.op])
	g.f.rp += n
	return n, nil
}

// member checks the end of a member and begins the next one; io.EOF when there is none.
func (g *gzipReader) member() error {
	var b [8]byte
	if err := g.bytes(b[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b[:4]) != g.sum || binary.LittleEndian.Uint32(b[4:]) != g.size {
		return errGzipSum
	}
	if g.size > 0 {
		g.empty = 0
	} else if g.empty++; g.empty > maxEmptyMembers {
		return errEmptyMembers
	}
	return g.header()
}

// The flags of a header.
const (
	flagSum = 1 << (iota + 1)
	flagExtra
	flagName
	flagComment
)

// header reads the beginning of a member; io.EOF when the input ends before it.
func (g *gzipReader) header() error {
	if g.f.ip == g.f.ie && !g.f.fill() {
		return g.f.srcErr
	}
	var h [10]byte
	if err := g.bytes(h[:]); err != nil {
		return err
	}
	if h[0] != 0x1f || h[1] != 0x8b || h[2] != 8 {
		return errGzipHeader
	}
	sum := crc32.ChecksumIEEE(h[:])
	flags := h[3]
	if flags&flagExtra != 0 {
		if err := g.extra(&sum); err != nil {
			return err
		}
	}
	for _, f := range []byte{flagName, flagComment} {
		if flags&f != 0 {
			if err := g.text(&sum); err != nil {
				return err
			}
		}
	}
	if flags&flagSum != 0 {
		var b [2]byte
		if err := g.bytes(b[:]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint16(b[:]) != uint16(sum) {
			return errGzipHeader
		}
	}
	g.sum, g.size = 0, 0
	g.f.reset()
	return nil
}

func (g *gzipReader) extra(sum *uint32) error {
	var b [2]byte
	if err := g.bytes(b[:]); err != nil {
		return err
	}
	data := make([]byte, binary.LittleEndian.Uint16(b[:]))
	if err := g.bytes(data); err != nil {
		return err
	}
	*sum = crc32.Update(crc32.Update(*sum, crc32.IEEETable, b[:]), crc32.IEEETable, data)
	return nil
}

// text skips a name or a comment, which ends in a zero byte and has fewer than 512, as in compress/gzip.
func (g *gzipReader) text(sum *uint32) error {
	var b [1]byte
	for range 512 {
		if err := g.bytes(b[:]); err != nil {
			return err
		}
		*sum = crc32.Update(*sum, crc32.IEEETable, b[:])
		if b[0] == 0 {
			return nil
		}
	}
	return errGzipHeader
}

// bytes reads whole bytes between deflate streams.
func (g *gzipReader) bytes(p []byte) error {
	for len(p) > 0 {
		if g.f.ip == g.f.ie && !g.f.fill() {
			return g.f.ended()
		}
		n := copy(p, g.f.in[g.f.ip:g.f.ie])
		p, g.f.ip = p[n:], g.f.ip+n
	}
	return nil
}

// Close ends the reading.
func (g *gzipReader) Close() error { return nil }
