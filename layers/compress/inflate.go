package compress

import (
	"encoding/binary"
	"errors"
	"io"
)

// errCorrupt says that a deflate stream is not one.
var errCorrupt = errors.New("corrupt deflate stream")

const (
	history   = 32 << 10 // how far a match reaches back
	outSize   = 256 << 10
	inSize    = 64 << 10
	inPad     = 32  // zeros behind the end of the input, which the fast loop may look at
	maxMatch  = 258 // longest match
	outMargin = maxMatch + 16
	inMargin  = 16 // what one round of the fast loop may read
)

// inflater decodes deflate streams (RFC 1951), several times as fast as compress/flate: 64 bits of input are looked at at
// once, tables of 11 and 9 bits decode nearly every symbol in one look, several literals are decoded for each refill, and
// matches are copied eight bytes at a time. It is checked against compress/flate by FuzzGzip.
type inflater struct {
	src    io.Reader
	srcErr error // what ended the input: io.EOF, or worse
	in     []byte
	ip, ie int // the part of in that is not used

	bits uint64 // input that was looked at; nb of them count, the others equal what follows
	nb   uint

	out      []byte
	op       int // end of what is decoded
	rp       int // end of what was given away
	base     int // where this stream begins: no match reaches further
	stored   int // bytes left of a stored block
	inBlock  bool
	last     bool // this block is the last one
	lit      [litSize]uint32
	dist     [distSize]uint32
	lengths  [320]uint8
	lenTable [128]uint32
}

func newInflater(src io.Reader) *inflater {
	return &inflater{src: src, in: make([]byte, inSize+inPad), out: make([]byte, outSize)}
}

// reset begins a stream where the last one ended.
func (f *inflater) reset() { f.base, f.inBlock, f.last, f.stored = f.op, false, false, 0 }

// fill reads more input behind what is not used; false at its end. The last bytes stay too: align may give them back.
func (f *inflater) fill() bool {
	if f.srcErr != nil {
		return false
	}
	from := max(f.ip-8, 0)
	f.ie = copy(f.in, f.in[from:f.ie])
	f.ip -= from
	for tries := 0; tries < 100; tries++ {
		n, err := f.src.Read(f.in[f.ie:inSize])
		f.ie += n
		f.srcErr = err
		if err != nil {
			clear(f.in[f.ie : f.ie+inPad])
		}
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	f.srcErr = io.ErrNoProgress
	clear(f.in[f.ie : f.ie+inPad])
	return false
}

// ended is the error of a stream that stops too early.
func (f *inflater) ended() error {
	if f.srcErr == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return f.srcErr
}

// need makes at least n bits count.
func (f *inflater) need(n uint) error {
	for f.nb < n {
		if f.ip == f.ie && !f.fill() {
			return f.ended()
		}
		f.bits = f.bits&(1<<f.nb-1) | uint64(f.in[f.ip])<<f.nb
		f.ip++
		f.nb += 8
	}
	return nil
}

func (f *inflater) take(n uint) uint {
	v := f.bits & (1<<n - 1)
	f.bits >>= n
	f.nb -= n
	return uint(v)
}

// align gives whole bytes back and drops the rest of a byte.
func (f *inflater) align() {
	f.ip -= int(f.nb >> 3)
	f.bits, f.nb = 0, 0
}

// next decodes until there is something to give away; io.EOF at the end of the stream.
func (f *inflater) next() error {
	if f.op > len(f.out)-outMargin {
		n := copy(f.out, f.out[f.op-history:f.op])
		f.base = max(f.base-(f.op-n), 0)
		f.op, f.rp = n, n
	}
	for f.op == f.rp {
		if !f.inBlock {
			if f.last {
				f.align()
				return io.EOF
			}
			if err := f.header(); err != nil {
				return err
			}
			continue
		}
		if err := f.body(); err != nil {
			return err
		}
	}
	return nil
}

func (f *inflater) body() error {
	if f.stored > 0 {
		return f.copyStored()
	}
	return f.decode()
}

// header reads the beginning of a block.
func (f *inflater) header() error {
	if err := f.need(3); err != nil {
		return err
	}
	f.last = f.take(1) == 1
	switch f.take(2) {
	case 0:
		return f.storedHeader()
	case 1:
		f.inBlock = true
		return f.fixed()
	case 2:
		f.inBlock = true
		return f.dynamic()
	}
	return errCorrupt
}

func (f *inflater) storedHeader() error {
	f.align()
	if err := f.need(32); err != nil {
		return err
	}
	n, inverse := f.take(16), f.take(16)
	if n != inverse^0xffff {
		return errCorrupt
	}
	f.stored = int(n)
	f.inBlock = n > 0
	return nil
}

// copyStored copies what is there of a stored block.
func (f *inflater) copyStored() error {
	f.align()
	if f.ip == f.ie && !f.fill() {
		return f.ended()
	}
	n := min(f.stored, f.ie-f.ip, len(f.out)-f.op)
	copy(f.out[f.op:], f.in[f.ip:f.ip+n])
	f.ip, f.op, f.stored = f.ip+n, f.op+n, f.stored-n
	f.inBlock = f.stored > 0
	return nil
}

// decode runs the symbols of a block until its end, until out is full, or until the input ends.
func (f *inflater) decode() error {
	lit, dist, out, in := &f.lit, &f.dist, f.out, f.in
	buf, nb, ip, op := f.bits, f.nb, f.ip, f.op
	for op <= len(out)-outMargin {
		tail := false
		if ip > f.ie-inMargin {
			f.bits, f.nb, f.ip = buf, nb, ip
			if f.fill() {
				ip = f.ip
				continue
			}
			ip, tail = f.ip, true
		}
		before := op
		buf |= binary.LittleEndian.Uint64(in[ip:]) << (nb & 63)
		ip += int((63 - nb) >> 3)
		nb |= 56
		e := lit[buf&(1<<litMain-1)]
		if e&isLiteral != 0 {
			buf, nb = buf>>(e&63), nb-uint(e&63)
			out[op] = byte(e >> 16)
			op++
			if e = lit[buf&(1<<litMain-1)]; e&isLiteral != 0 {
				buf, nb = buf>>(e&63), nb-uint(e&63)
				out[op] = byte(e >> 16)
				op++
				e = lit[buf&(1<<litMain-1)]
			}
		}
		if e&isSpecial != 0 && e&isSub != 0 {
			buf, nb = buf>>litMain, nb-litMain
			e = lit[(uint64(e>>16)+buf&(1<<(e>>8&15)-1))&(litSize-1)]
		}
		switch {
		case e&isLiteral != 0:
			buf, nb = buf>>(e&63), nb-uint(e&63)
			out[op] = byte(e >> 16)
			op++
		case e&isSpecial == 0:
			length := int(e>>16) + int(buf&(1<<(e&63)-1)>>(e>>8&15))
			buf, nb = buf>>(e&63), nb-uint(e&63)
			buf |= binary.LittleEndian.Uint64(in[ip:]) << (nb & 63)
			ip += int((63 - nb) >> 3)
			nb |= 56
			e = dist[buf&(1<<distMain-1)]
			if e&isSub != 0 {
				buf, nb = buf>>distMain, nb-distMain
				e = dist[(uint64(e>>16)+buf&(1<<(e>>8&15)-1))&(distSize-1)]
			}
			back := int(e>>16) + int(buf&(1<<(e&63)-1)>>(e>>8&15))
			buf, nb = buf>>(e&63), nb-uint(e&63)
			if e&isSpecial != 0 || back > op-f.base {
				return f.stop(buf, nb, ip, before, tail)
			}
			match(out, op, back, length)
			op += length
		case e&isEnd != 0:
			buf, nb = buf>>(e>>8&15), nb-uint(e>>8&15)
			f.inBlock = false
		default:
			return f.stop(buf, nb, ip, before, tail)
		}
		if tail && ip-int(nb>>3) > f.ie {
			return f.stop(buf, nb, ip, before, tail)
		}
		if !f.inBlock {
			break
		}
	}
	if ip > f.ie { // the zeros there are no input
		nb, ip = nb-uint(8*(ip-f.ie)), f.ie
	}
	f.bits, f.nb, f.ip, f.op = buf, nb, ip, op
	return nil
}

// stop tells why a block cannot be decoded further: behind the end of the input anything may seem corrupt.
func (f *inflater) stop(buf uint64, nb uint, ip, op int, tail bool) error {
	f.bits, f.nb, f.ip, f.op = buf, nb, ip, op
	if tail && ip-int(nb>>3) > f.ie {
		return f.ended()
	}
	return errCorrupt
}

// match repeats length bytes from back bytes ago. It may write up to 7 bytes more, which the next symbols replace.
func match(out []byte, op, back, length int) {
	from := op - back
	switch {
	case back >= 8:
		for end := op + length; op < end; op, from = op+8, from+8 {
			binary.LittleEndian.PutUint64(out[op:], binary.LittleEndian.Uint64(out[from:]))
		}
	case back == 1:
		all := uint64(out[from]) * 0x0101010101010101
		for end := op + length; op < end; op += 8 {
			binary.LittleEndian.PutUint64(out[op:], all)
		}
	default:
		for i := range length {
			out[op+i] = out[from+i]
		}
	}
}
