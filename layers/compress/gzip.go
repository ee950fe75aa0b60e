package compress

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// maxEmptyMembers bounds how many members without content may follow each other in a gzip stream.
const maxEmptyMembers = 1 << 10

var errEmptyMembers = errors.New("too many empty members")

// gzipReader reads the members of a gzip stream one by one. It never recurses over them, and it gives up on streams
// that are made of empty ones.
type gzipReader struct {
	src   *bufio.Reader
	z     *gzip.Reader
	empty int
	got   bool
	err   error
}

func newGzip(src *bufio.Reader) (*gzipReader, error) {
	z, err := gzip.NewReader(src)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gzipReader{src: src, z: z}, nil
}

// Read decompresses.
func (g *gzipReader) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	for {
		n, err := g.z.Read(p)
		if n > 0 {
			g.got = true
		}
		if err == io.EOF {
			err = g.next()
		}
		g.err = err
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

func (g *gzipReader) next() error {
	if g.got {
		g.empty = 0
	} else if g.empty++; g.empty > maxEmptyMembers {
		return errEmptyMembers
	}
	g.got = false
	if err := g.z.Reset(g.src); err != nil {
		return err // io.EOF at the end of the stream
	}
	g.z.Multistream(false)
	return nil
}

// Close ends the reading.
func (g *gzipReader) Close() error { return g.z.Close() }
