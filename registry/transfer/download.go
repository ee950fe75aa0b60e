package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// LeastStep is how many bytes a connection must have brought to have been worth it.
const LeastStep = 1 << 10

const (
	// stallTries is how often a download goes on without anything having come.
	stallTries = 5
	// minPiece and maxPiece bound what is asked for at once, where ranges are.
	minPiece, maxPiece = 8 << 20, 64 << 20
	// readSize is how much is written at once.
	readSize = 256 << 10
)

// ErrTooLong says that more came than the blob has bytes.
var ErrTooLong = errors.New("the server sent more than the blob's size")

// errIdle is a connection on which nothing comes any more.
var errIdle = errors.New("nothing came for too long")

// Download fills a file with one blob.
type Download struct {
	Ways   []Way // the first to rule; the next when one fails
	Blob   ocispec.Descriptor
	File   io.WriterAt
	Ledger *Ledger
	Ranges int           // pieces at once
	Slots  chan struct{} // if set: bounds the requests of all downloads together
	Event  func(have int64)

	mu    sync.Mutex // guards what follows
	next  int64      // where the next piece is looked for
	whole bool       // the registry gives no ranges
	know  func()     // called when it is known whether it does
}

// Run downloads what the ledger says is missing. When it gives up the ledger's
// followers get its error.
func (d *Download) Run(ctx context.Context) error {
	err := d.run(ctx)
	if err != nil {
		d.Ledger.Fail(err)
		_ = d.Ledger.Note() // what is not noted is downloaded again
	}
	return err
}

// run fills pieces side by side, once the first answer tells that there are
// ranges.
func (d *Download) run(ctx context.Context) error {
	known := make(chan struct{})
	d.know = sync.OnceFunc(func() { close(known) })
	g, gctx := errgroup.WithContext(ctx)
	first := d.take()
	g.Go(func() error {
		defer d.know()
		if err := d.fill(gctx, first); err != nil {
			return err
		}
		return d.pieces(gctx)
	})
	for range d.Ranges - 1 {
		g.Go(func() error {
			select {
			case <-gctx.Done():
				return nil
			case <-known:
				return d.pieces(gctx)
			}
		})
	}
	if err := g.Wait(); err != nil || !d.isWhole() {
		return err
	}
	return d.rest(ctx)
}

// pieces takes and fills pieces until there are none, or no ranges.
func (d *Download) pieces(ctx context.Context) error {
	for ctx.Err() == nil && !d.isWhole() {
		piece := d.take()
		if piece.From >= piece.To {
			return nil
		}
		if err := d.fill(ctx, piece); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// rest fills what is left in one stream after another.
func (d *Download) rest(ctx context.Context) error {
	for {
		gap := d.Ledger.gap(0, d.Blob.Size)
		if gap.From >= gap.To {
			return nil
		}
		if err := d.fill(ctx, gap); err != nil {
			return err
		}
	}
}

// take claims the next missing piece; an empty one says that there is none.
func (d *Download) take() span {
	d.mu.Lock()
	defer d.mu.Unlock()
	piece := min(max(d.Blob.Size/64, minPiece), maxPiece)
	s := d.Ledger.gap(d.next, piece)
	if s.To+piece/2 >= d.Blob.Size { // no crumbs
		s = d.Ledger.gap(d.next, piece+piece/2)
	}
	d.next = s.To
	return s
}

func (d *Download) isWhole() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.whole
}

func (d *Download) setWhole() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.whole = true
}

// fill brings the bytes of a span, going on after broken connections as long as
// bytes come.
func (d *Download) fill(ctx context.Context, s span) error {
	for stalled := 0; s.From < s.To; {
		n, err := d.fetch(ctx, s)
		if s.From += n; err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if stalled++; n >= LeastStep {
			stalled = 0
		}
		status := Status(err)
		if status == http.StatusRequestedRangeNotSatisfiable && !d.isWhole() {
			d.setWhole()
			continue
		}
		var final *FinalError
		if status != 0 || stalled >= stallTries || errors.Is(err, ErrTooLong) || errors.As(err, &final) {
			return err
		}
	}
	return nil
}

// fetch asks the lines in turn for a span, and writes what comes.
func (d *Download) fetch(ctx context.Context, s span) (int64, error) {
	if d.Slots != nil {
		select {
		case d.Slots <- struct{}{}:
			defer func() { <-d.Slots }()
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	var err error
	for _, way := range d.Ways {
		l, lerr := way(ctx)
		if lerr != nil {
			err = lerr
			continue
		}
		var n int64
		if n, err = d.fetchFrom(ctx, l, s); n > 0 || err == nil || ctx.Err() != nil {
			return n, err
		}
	}
	return 0, err
}

// fetchFrom asks for a span. A server that knows no ranges sends the whole: what
// is there already is skipped, and its stream is used to its end.
func (d *Download) fetchFrom(ctx context.Context, l *Line, s span) (int64, error) {
	h := http.Header{}
	if !d.isWhole() && (s.From > 0 || s.To < d.Blob.Size) {
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", s.From, s.To-1))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := l.Do(ctx, http.MethodGet, l.Path("blobs/%s", d.Blob.Digest), h, nil, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	idle := newPulse(l.Patience.Idle, func() { cancel(errIdle) })
	defer idle.stop()
	body := &watched{r: resp.Body, each: idle.beat}
	n, err := d.take206(resp, body, s)
	if err != nil && errors.Is(context.Cause(ctx), errIdle) {
		err = errIdle
	}
	return n, err
}

// take206 checks what the answer is and writes it.
func (d *Download) take206(resp *http.Response, body io.Reader, s span) (int64, error) {
	if err := begins(resp, s.From); err != nil {
		return 0, err
	}
	if resp.StatusCode == http.StatusPartialContent {
		d.know()
		return d.write(body, s)
	}
	if s.From > 0 || s.To < d.Blob.Size {
		d.setWhole()
	}
	if resp.ContentLength > d.Blob.Size {
		return 0, ErrTooLong
	}
	if _, err := io.CopyN(io.Discard, body, s.From); err != nil {
		return 0, fmt.Errorf("skip what is there: %w", cut(err))
	}
	return d.write(body, span{s.From, d.Blob.Size})
}

// begins says what is wrong with a part of a blob that begins elsewhere.
func begins(resp *http.Response, from int64) error {
	part := resp.Header.Get("Content-Range")
	if resp.StatusCode == http.StatusPartialContent && !strings.HasPrefix(part, fmt.Sprintf("bytes %d-", from)) {
		return fmt.Errorf("the server answered with the range %q", Printable(part))
	}
	return nil
}

// write writes the bytes of a span, and looks for one too many at the blob's end.
func (d *Download) write(body io.Reader, s span) (int64, error) {
	buf := make([]byte, min(readSize, s.To-s.From+1))
	at := s.From
	for at < s.To {
		n, err := body.Read(buf[:min(int64(len(buf)), s.To-at)])
		if n > 0 {
			if _, werr := d.File.WriteAt(buf[:n], at); werr != nil {
				return at - s.From, werr
			}
			if werr := d.Ledger.Add(at, at+int64(n)); werr != nil {
				return at - s.From, werr
			}
			at += int64(n)
			d.Event(d.Ledger.Have())
		}
		if err != nil && at < s.To {
			return at - s.From, cut(err)
		}
	}
	if n, _ := io.ReadFull(body, buf[:1]); n > 0 && s.To == d.Blob.Size {
		return at - s.From, ErrTooLong
	}
	return at - s.From, nil
}

// cut is an end that came too early.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// watched tells of bytes that are read.
type watched struct {
	r    io.Reader
	each func(n int)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.each(n)
	}
	return n, err
}
