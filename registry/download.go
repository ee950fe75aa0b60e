package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// stallTries is how often a download goes on without a byte having come.
	stallTries = 5
	// busyPause is how often to look whether another process is done.
	busyPause = 100 * time.Millisecond
)

// errTooLong says that more came than the blob has bytes.
var errTooLong = errors.New("the server sent more than the blob's size")

// fetchBlob downloads one blob unless the store has it. Where another process
// downloads it already, it waits for that one.
func (s *session) fetchBlob(ctx context.Context, store *layers.Store, d ocispec.Descriptor) error {
	if err := layers.CheckDescriptor(d); err != nil {
		return err
	}
	for {
		if _, err := store.StatBlob(d.Digest); err == nil {
			s.c.event(Event{ID: string(d.Digest), Action: "exists", Current: d.Size, Total: d.Size})
			return nil
		}
		p, err := store.Partial(string(d.Digest))
		if err == nil {
			err = s.fill(ctx, p, d)
			if cerr := p.Close(); err == nil {
				err = cerr
			}
			return err
		}
		if !errors.Is(err, layers.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

// fill completes a partial file and commits it. What an earlier run left may be
// wrong, so a digest that does not fit is followed by one download of the whole.
func (s *session) fill(ctx context.Context, p *layers.Partial, d ocispec.Descriptor) error {
	for again := false; ; again = true {
		st, err := p.File().Stat()
		if err != nil {
			return err
		}
		err = s.download(ctx, p.File(), d)
		if err == nil {
			err = p.Commit(ctx, d, false)
		}
		var mismatch *layers.DigestError
		wrong := errors.As(err, &mismatch) || errors.Is(err, errTooLong)
		if !wrong {
			if err != nil {
				return fmt.Errorf("download %s: %w", d.Digest, err)
			}
			return nil
		}
		if terr := p.File().Truncate(0); terr != nil {
			return errors.Join(err, terr)
		}
		if again || st.Size() == 0 {
			return fmt.Errorf("download %s: %w", d.Digest, err)
		}
	}
}

// download fills a file from its end to the blob's size, going on after broken
// connections as long as bytes come.
func (s *session) download(ctx context.Context, f *os.File, d ocispec.Descriptor) error {
	for stalled := 0; ; {
		st, err := f.Stat()
		if err != nil {
			return err
		}
		have := st.Size()
		if have == d.Size {
			return nil
		}
		if have > d.Size {
			return errTooLong
		}
		n, err := s.downloadFrom(ctx, f, d, have)
		if err == nil {
			continue
		}
		if stalled++; n > 0 {
			stalled = 0
		}
		if err := s.giveUp(ctx, f, have, err); err != nil {
			return err
		}
		if stalled >= stallTries {
			return err
		}
	}
}

// giveUp says whether a download that failed is not worth going on with. A
// server that refuses the range is asked for the whole.
func (s *session) giveUp(ctx context.Context, f *os.File, have int64, err error) error {
	var status *StatusError
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !errors.As(err, &status) {
		return nil
	}
	if status.Status == http.StatusRequestedRangeNotSatisfiable && have > 0 {
		return f.Truncate(0)
	}
	return err
}

// downloadFrom asks for the rest of a blob and writes what comes. A server that
// knows no ranges sends the whole; what is there already is then skipped. A
// connection on which nothing comes for a while is given up.
func (s *session) downloadFrom(ctx context.Context, f *os.File, d ocispec.Descriptor, have int64) (int64, error) {
	h := http.Header{}
	if have > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := s.do(ctx, http.MethodGet, s.path("blobs/%s", d.Digest), h, nil, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	idle := time.AfterFunc(s.c.idle, func() { cancel(errIdle) })
	defer idle.Stop()
	if resp.StatusCode == http.StatusPartialContent {
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)) {
			return 0, fmt.Errorf("the server answered with the range %q", printable(resp.Header.Get("Content-Range")))
		}
	} else if _, err := io.CopyN(&reporting{w: io.Discard, each: s.awake(idle)}, resp.Body, have); err != nil {
		return 0, fmt.Errorf("skip what is there: %w", err)
	}
	e := Event{ID: string(d.Digest), Action: "download", Current: have, Total: d.Size}
	w := &reporting{w: io.NewOffsetWriter(f, have), each: func(n int) {
		idle.Reset(s.c.idle)
		e.Current += int64(n)
		s.c.event(e)
	}}
	n, err := io.Copy(w, io.LimitReader(resp.Body, d.Size-have+1))
	if err == nil && have+n < d.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && errors.Is(context.Cause(ctx), errIdle) {
		err = errIdle
	}
	return n, err
}

// errIdle is a connection on which nothing comes any more.
var errIdle = errors.New("nothing came for too long")

func (s *session) awake(idle *time.Timer) func(int) {
	return func(int) { idle.Reset(s.c.idle) }
}

// reporting tells of the bytes that pass.
type reporting struct {
	w    io.Writer
	each func(n int)
}

func (r *reporting) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	r.each(n)
	return n, err
}
