package diff

import (
	"archive/tar"
	"bytes"
	"io"
	"time"
)

// scanner reads a tar entry by entry, as archive/tar does. Most entries have a plain
// header: it reads those itself, and hands content on where it lies instead of copying
// it. What is less usual goes through archive/tar, one entry at a time: extended
// headers, sparse files, numbers in base 256, the end of the archive and what is wrong.
type scanner struct {
	src    *source
	h      tar.Header  // of the last plain entry
	left   int64       // of the content that lies in src as it is
	sparse *tar.Reader // the last entry, if its content does not
}

// Next goes on to the next entry and leaves out what was not read of the last one.
// Header and content hold until it is called again; it ends with io.EOF.
func (s *scanner) Next() (*tar.Header, io.Reader, error) {
	if r := s.sparse; r != nil {
		s.sparse = nil
		return s.through(r) // who knows where its content ends
	}
	if err := s.skip(); err != nil {
		return nil, nil, err
	}
	head, err := s.src.header()
	if err != nil {
		return nil, nil, err
	}
	if plainHeader(&s.h, head) {
		s.left = s.h.Size
		return &s.h, content{s}, nil
	}
	return s.through(tar.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(head)), s.src)))
}

// through is the next entry as archive/tar reads it.
func (s *scanner) through(r *tar.Reader) (*tar.Header, io.Reader, error) {
	h, err := r.Next()
	if err != nil {
		return nil, nil, err
	}
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo, tar.TypeXGlobalHeader:
		return h, content{s}, nil // whatever their size says
	}
	if isSparse(h) {
		s.sparse = r
		return h, r, nil
	}
	s.left = h.Size
	return h, content{s}, nil
}

// skip goes to the end of an entry. As for archive/tar, an archive may end in what fills
// up the last block.
func (s *scanner) skip() error {
	for s.left > 0 {
		if _, err := s.piece(); err != nil {
			return err
		}
	}
	for pad := padding(s.src.n); pad > 0; {
		p, err := s.src.piece(pad)
		if err != nil {
			return err
		}
		pad -= int64(len(p))
	}
	return nil
}

// piece is what comes next of the content; it holds until the next call.
func (s *scanner) piece() ([]byte, error) {
	if s.left == 0 {
		return nil, io.EOF
	}
	p, err := s.src.piece(s.left)
	s.left -= int64(len(p))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return p, err
}

// content is that of the scanner's entry.
type content struct{ s *scanner }

func (c content) Read(p []byte) (int, error) {
	if c.s.left == 0 {
		return 0, io.EOF
	}
	n, err := c.s.src.Read(p[:min(int64(len(p)), c.s.left)])
	c.s.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// WriteTo copies nothing on the way.
func (c content) WriteTo(w io.Writer) (int64, error) {
	for total := int64(0); ; {
		p, err := c.s.piece()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(p)
		if total += int64(n); err != nil {
			return total, err
		}
	}
}

// blocks is a reader that has what it reads in memory: NextBlock is the rest of the
// current block, or the next one, and holds until the next call.
type blocks interface{ NextBlock() ([]byte, error) }

// source is the stream that a scanner reads, in pieces that are not copied.
type source struct {
	blocks blocks
	cur    []byte // what was not read of the current block
	n      int64  // bytes that were read
}

func newSource(r io.Reader) *source {
	if b, ok := r.(blocks); ok {
		return &source{blocks: b}
	}
	return &source{blocks: &reblocked{r: r}}
}

// reblocked reads another reader by blocks.
type reblocked struct {
	r   io.Reader
	buf []byte
	err error // that r ended with
}

func (b *reblocked) NextBlock() ([]byte, error) {
	if b.buf == nil {
		b.buf = make([]byte, copyBlock)
	}
	for range 100 {
		if b.err != nil {
			return nil, b.err
		}
		var n int
		if n, b.err = b.r.Read(b.buf); n > 0 {
			return b.buf[:n], nil
		}
	}
	return nil, io.ErrNoProgress
}

// piece is some of the next bytes, at most limit.
func (s *source) piece(limit int64) ([]byte, error) {
	for len(s.cur) == 0 {
		var err error
		if s.cur, err = s.blocks.NextBlock(); err != nil {
			return nil, err
		}
	}
	p := s.cur[:min(int64(len(s.cur)), limit)]
	s.cur = s.cur[len(p):]
	s.n += int64(len(p))
	return p, nil
}

func (s *source) Read(p []byte) (int, error) {
	b, err := s.piece(int64(len(p)))
	return copy(p, b), err
}

// header is the next 512 bytes.
func (s *source) header() ([]byte, error) {
	p, err := s.piece(headerSize)
	if err != nil || len(p) == headerSize {
		return p, err
	}
	whole := append(make([]byte, 0, headerSize), p...)
	for len(whole) < headerSize {
		p, err := s.piece(int64(headerSize - len(whole)))
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		whole = append(whole, p...)
	}
	return whole, nil
}

const headerSize = 512

// plainHeader reads a header of ustar, or of GNU's tar without what only that has, of a
// file, link or folder. What it has a doubt about it leaves to archive/tar.
func plainHeader(h *tar.Header, b []byte) bool {
	kind := b[156]
	switch magic := string(b[257:265]); {
	case kind != tar.TypeReg && kind != tar.TypeDir && kind != tar.TypeSymlink && kind != tar.TypeLink:
		return false
	case magic == "ustar  \x00":
		if !bytes.Equal(b[345:], zeros[:headerSize-345]) {
			return false
		}
	case magic != "ustar\x0000" || string(b[508:]) == "tar\x00":
		return false
	}
	n := numbers{b: b}
	sum := n.at(148, 156)
	mode, uid, gid := n.at(100, 108), n.at(108, 116), n.at(116, 124)
	size, mtime := n.at(124, 136), n.at(136, 148)
	if b[329] != 0 || b[337] != 0 { // device numbers, of other entries
		n.at(329, 337)
		n.at(337, 345)
	}
	if n.bad || sum != checksum(b) || size != 0 && kind != tar.TypeReg {
		return false
	}
	name := text(b[:100])
	if prefix := text(b[345:500]); prefix != "" {
		name = prefix + "/" + name
	}
	*h = tar.Header{
		Typeflag: kind, Name: name, Linkname: text(b[157:257]), Size: size, Mode: mode,
		Uid: int(uid), Gid: int(gid), ModTime: time.Unix(mtime, 0),
	}
	return true
}

// text is a field up to its first zero.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// checksum is the sum of a header whose own field counts as spaces.
func checksum(b []byte) int64 {
	sum := int64(8 * ' ')
	for _, c := range b[:148] {
		sum += int64(c)
	}
	for _, c := range b[156:] {
		sum += int64(c)
	}
	return sum
}

// numbers reads the octal fields of a header.
type numbers struct {
	b   []byte
	bad bool // one of them is not as it should be
}

// at is the number of a field: digits, and nothing but zeros and spaces behind them.
func (n *numbers) at(from, to int) int64 {
	field, v, i := n.b[from:to], int64(0), 0
	for ; i < len(field) && field[i] >= '0' && field[i] <= '7'; i++ {
		v = v<<3 | int64(field[i]-'0')
	}
	if i == 0 || len(bytes.Trim(field[i:], " \x00")) > 0 {
		n.bad = true
	}
	return v
}
