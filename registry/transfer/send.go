package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// errContent marks a failure of what we send, which no other try mends.
var errContent = errors.New("read what is sent")

// errLost is a session that the registry no longer knows, or not as we do.
var errLost = errors.New("the registry lost the upload")

// send brings the content into the session and closes it with the digest.
func (u *Upload) send(ctx context.Context) error {
	if u.small() && u.offset == 0 {
		err := u.put(ctx)
		if err != nil {
			u.chunk = firstChunk // the long way, if there is a next time
		}
		return err
	}
	for broken := 0; !u.eof && !(u.Blob.Digest != "" && u.offset >= u.Blob.Size); {
		serr := u.patch(ctx)
		if serr == nil {
			broken = 0
			continue
		}
		if broken++; broken >= tries || ctx.Err() != nil || errors.Is(serr, errContent) {
			return serr
		}
		before := u.offset
		if err := u.ask(ctx); err != nil {
			return fmt.Errorf("%w: %w", errLost, errors.Join(err, serr))
		}
		switch {
		case u.offset > before:
			broken = 0
		case Status(serr) == http.StatusRequestedRangeNotSatisfiable: // it says one thing and does another
			return fmt.Errorf("%w: %w", errLost, serr)
		case broken > 1:
			u.shorten()
		}
	}
	return u.put(ctx)
}

// shorten makes requests smaller, so that a break loses less.
func (u *Upload) shorten() {
	if u.chunk == 0 {
		u.chunk = 2 * firstChunk
	}
	u.chunk = max(u.chunk/2, leastChunk)
}

// patch sends bytes from the offset on in one request.
func (u *Upload) patch(ctx context.Context) error {
	length := int64(-1)
	if u.Blob.Digest != "" {
		length = u.Blob.Size - u.offset
	}
	if u.chunk > 0 && (length < 0 || length > u.chunk) {
		length = u.chunk
	}
	known := u.Blob.Digest != "" && length >= 0
	h := http.Header{"Content-Type": {"application/octet-stream"}}
	if known && (u.offset > 0 || u.chunk > 0 || u.asked) {
		h.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, u.offset+length-1))
	}
	sent, resp, err := u.stream(ctx, http.MethodPatch, u.loc.String(), h, length, known)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusNoContent {
		return u.Line.Patience.Refusal(http.MethodPatch, resp)
	}
	resp.Body.Close()
	u.offset += sent
	u.eof = u.Blob.Digest == "" && (length < 0 || sent < length)
	return u.located(resp)
}

// stream sends a request whose body is the content from the offset on, at most
// 'most' bytes of it if that is not negative, and tells how many were read.
func (u *Upload) stream(ctx context.Context, method, url string, h http.Header, most int64, known bool) (int64, *http.Response, error) {
	if f, ok := u.Content.(Filed); ok && known && u.checked != nil && u.offset+most == u.Blob.Size {
		return u.streamFile(ctx, f, method, url, h)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	content, err := u.Content.Open(ctx, u.offset)
	if err != nil {
		cancel(nil)
		return 0, nil, fmt.Errorf("%w: %w", errContent, err)
	}
	idle := time.AfterFunc(u.Line.Patience.Idle, func() { cancel(errIdle) })
	body := &sender{r: content, left: most, each: func(sent int64, ended bool) {
		idle.Reset(u.Line.Patience.Idle)
		if ended || sent == most {
			idle.Stop() // from here on it is the registry that works
		}
		u.Event(Step{Action: "upload", Sent: u.offset + sent, Size: u.Blob.Size})
	}}
	length := most
	if !known {
		length = -1
	}
	resp, err := u.Line.Once(ctx, method, url, h, func() (io.Reader, int64, error) { return body, length, nil })
	sent, rerr := body.stop()
	idle.Stop()
	content.Close()
	switch {
	case rerr != nil && ctx.Err() == nil:
		err = fmt.Errorf("%w: %w", errContent, rerr)
	case err != nil && errors.Is(context.Cause(ctx), errIdle):
		err = errIdle
	}
	if err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		cancel(nil)
		return sent, nil, err
	}
	resp.Body = &ending{resp.Body, func() { cancel(nil) }}
	return sent, resp, nil
}

// put closes the session: with the digest, and with the content if it is small.
func (u *Upload) put(ctx context.Context) error {
	if u.Blob.Digest == "" {
		var err error
		if u.Blob, err = u.Content.Whole(ctx); err != nil {
			return fmt.Errorf("%w: %w", errContent, err)
		}
	}
	if u.checked != nil {
		if err := u.checked(); err != nil {
			return fmt.Errorf("%w: %w", errContent, err)
		}
	}
	loc := *u.loc
	q := loc.Query()
	q.Set("digest", string(u.Blob.Digest))
	loc.RawQuery = q.Encode()
	if u.offset > 0 || u.Blob.Size == 0 || u.eof {
		resp, err := u.Line.Do(ctx, http.MethodPut, loc.String(), nil, nil, http.StatusCreated)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	h := http.Header{"Content-Type": {"application/octet-stream"}}
	_, resp, err := u.stream(ctx, http.MethodPut, loc.String(), h, u.Blob.Size, true)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return u.Line.Patience.Refusal(http.MethodPut, resp)
	}
	return resp.Body.Close()
}

// question asks for the state of an upload. A registry that still works at the
// request of somebody who is gone (409) is asked again until it must have noticed: who
// gives up sends all of the blob once more.
func (u *Upload) question(ctx context.Context) (*http.Response, error) {
	p := u.Line.Patience
	for wait, waited := p.Pause, time.Duration(0); ; wait, waited = min(2*wait, p.Idle/4), waited+wait {
		resp, err := u.Line.Do(ctx, http.MethodGet, u.loc.String(), nil, nil, http.StatusNoContent, http.StatusOK)
		if err == nil || Status(err) != http.StatusConflict || waited > p.Idle {
			return resp, err
		}
		if err := p.Sleep(ctx, err, wait); err != nil {
			return nil, err
		}
	}
}

// ask asks how much of an upload the registry has. "0-0" may be a byte or none: what is
// sent next says where it belongs, so that a byte is not sent twice.
func (u *Upload) ask(ctx context.Context) error {
	resp, err := u.question(ctx)
	if err != nil {
		return err
	}
	resp.Body.Close()
	var first, last int64
	if _, err := fmt.Sscanf(resp.Header.Get("Range"), "%d-%d", &first, &last); err != nil || first != 0 {
		return errors.New("the registry does not say how far the upload is")
	}
	if last > 0 {
		last++
	}
	u.offset, u.asked = last, true
	if resp.Header.Get("Location") == "" {
		return nil
	}
	return u.located(resp)
}

// sender reads what is sent, bounds it and remembers why it could not be read.
// The transport may still read it when the answer is there.
type sender struct {
	each func(sent int64, ended bool)

	mu   sync.Mutex // guards what follows
	r    io.Reader
	left int64 // negative is no bound
	sent int64
	err  error
}

func (s *sender) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.r == nil {
		return 0, io.ErrClosedPipe
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.left > 0 {
		p = p[:min(int64(len(p)), s.left)]
	}
	n, err := s.r.Read(p)
	if s.left > 0 {
		s.left -= int64(n)
	}
	s.sent += int64(n)
	s.each(s.sent, err == io.EOF)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// stop ends the reading, and tells how much was read and what went wrong.
func (s *sender) stop() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r = nil
	return s.sent, s.err
}

// ending calls fn when a body is closed.
type ending struct {
	io.ReadCloser
	fn func()
}

func (e *ending) Close() error {
	err := e.ReadCloser.Close()
	e.fn()
	return err
}
