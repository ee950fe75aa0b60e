package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tries bounds how often one request is sent.
const tries = 5

// do sends a request and gives back an answer with one of the wanted statuses.
// What may pass (429, 5xx, a broken connection) is tried again a few times; the
// body is made anew for each try. The caller closes the answer's body.
func (s *session) do(ctx context.Context, method, url string, header http.Header, body func() (io.Reader, int64, error), want ...int) (*http.Response, error) {
	if !strings.Contains(url, "://") {
		url = s.base + url
	}
	for try := 1; ; try++ {
		resp, err := s.once(ctx, method, url, header, body)
		if err == nil {
			for _, w := range want {
				if resp.StatusCode == w {
					return resp, nil
				}
			}
			err = refusal(method, resp)
		}
		wait, again := s.c.retry(err, try)
		if !again || ctx.Err() != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (s *session) once(ctx context.Context, method, url string, header http.Header, body func() (io.Reader, int64, error)) (*http.Response, error) {
	var r io.Reader
	length := int64(0)
	if body != nil {
		var err error
		if r, length, err = body(); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, r)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	for k, v := range header {
		req.Header[k] = v
	}
	return s.http.Do(req)
}

// refusal reads a little of the answer and closes it.
func refusal(method string, resp *http.Response) error {
	defer resp.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	detail := ""
	if json.Unmarshal(raw, &doc) == nil && len(doc.Errors) > 0 {
		detail = strings.TrimSpace(doc.Errors[0].Code + ": " + doc.Errors[0].Message)
	}
	u := *resp.Request.URL
	u.RawQuery = ""
	e := &StatusError{Status: resp.StatusCode, Method: method, URL: u.Redacted(), Detail: printable(detail)}
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && after >= 0 {
		return &retryAfter{e, time.Duration(min(after, 3600)) * time.Second}
	}
	return e
}

// retryAfter is a refusal that says when to come back.
type retryAfter struct {
	*StatusError
	after time.Duration
}

func (e *retryAfter) Unwrap() error { return e.StatusError }

// printable keeps a registry's words from steering the terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 300)]
}

// retry says whether an error may pass, and how long to wait.
func (c *Client) retry(err error, try int) (time.Duration, bool) {
	if try >= tries {
		return 0, false
	}
	wait := min(c.pause<<(try-1), c.limit/2)
	wait = wait/2 + rand.N(wait/2+1)
	var after *retryAfter
	var status *StatusError
	switch {
	case errors.As(err, &after) && passing(after.Status):
		return min(max(after.after, wait), c.limit), true
	case errors.As(err, &status):
		return wait, passing(status.Status)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return 0, false
	}
	return wait, transient(err)
}

func passing(status int) bool {
	return status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
}

// transient says whether a failure of the connection may not come again.
func transient(err error) bool {
	s := err.Error()
	for _, t := range []string{"connection reset", "EOF", "broken pipe", "connection refused", "timeout", "http2: server sent GOAWAY"} {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

// path makes a path of the session's repository.
func (s *session) path(format string, a ...any) string {
	return "/v2/" + s.repo + "/" + fmt.Sprintf(format, a...)
}

// bytesBody is a body that can be sent again.
func bytesBody(raw []byte) func() (io.Reader, int64, error) {
	return func() (io.Reader, int64, error) { return bytes.NewReader(raw), int64(len(raw)), nil }
}
