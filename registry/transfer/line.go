package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// tries bounds how often one request is sent.
const tries = 5

// Line is an authenticated way to one repository. It is safe for concurrent use.
type Line struct {
	HTTP       *http.Client
	Base       string // scheme://host
	Repository string
	Namespace  string // of a mirror: the registry that it stands for
	Patience   Patience
}

// Way finds a line when it is first needed.
type Way func(ctx context.Context) (*Line, error)

// Patience says how long a line waits.
type Patience struct {
	Idle  time.Duration                       // for the next byte of a body
	Pause time.Duration                       // before the second try; it doubles
	Limit time.Duration                       // the longest pause, whatever a registry asks for
	Tell  func(err error, wait time.Duration) // if set, hears of each long pause and why it is made
}

// long is a pause that somebody who looks wants to be told about.
const long = time.Second

// Sleep waits until the next try.
func (p Patience) Sleep(ctx context.Context, err error, wait time.Duration) error {
	if p.Tell != nil && wait >= long {
		p.Tell(err, wait)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// Body makes the body of a request, anew for each try, and tells its length; -1
// is unknown.
type Body func() (io.Reader, int64, error)

// Bytes is a body of bytes.
func Bytes(raw []byte) Body {
	return func() (io.Reader, int64, error) { return bytes.NewReader(raw), int64(len(raw)), nil }
}

// SameHost tells whether the hosts of two URLs of a scheme are one: the port that the
// scheme has by itself is said by some and not by others.
func SameHost(scheme, a, b string) bool {
	port := map[string]string{"https": ":443", "http": ":80"}[scheme]
	return strings.TrimSuffix(a, port) == strings.TrimSuffix(b, port)
}

// Path makes the path of something in the line's repository.
func (l *Line) Path(format string, a ...any) string {
	return "/v2/" + l.Repository + "/" + fmt.Sprintf(format, a...)
}

// Do sends a request and gives back an answer with one of the wanted statuses.
// What may pass (429, 5xx, a broken connection) is tried again a few times. The
// caller closes the answer's body.
func (l *Line) Do(ctx context.Context, method, url string, header http.Header, body Body, want ...int) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := l.Once(ctx, method, url, header, body)
		if err == nil {
			if slices.Contains(want, resp.StatusCode) {
				return resp, nil
			}
			err = l.Patience.Refusal(method, resp)
		}
		wait, again := l.Patience.retry(err, try)
		if !again || ctx.Err() != nil {
			return nil, err
		}
		if err := l.Patience.Sleep(ctx, err, wait); err != nil {
			return nil, err
		}
	}
}

// Once sends a request one time and gives back whatever answer there is.
func (l *Line) Once(ctx context.Context, method, url string, header http.Header, body Body) (*http.Response, error) {
	var r io.Reader
	length := int64(0)
	if body != nil {
		var err error
		if r, length, err = body(); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, l.absolute(url), r)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "hod")
	resp, err := l.HTTP.Do(req)
	var final *FinalError
	if errors.As(err, &final) {
		err = final
	}
	return resp, err
}

// absolute puts a path on the line's host.
func (l *Line) absolute(path string) string {
	if strings.Contains(path, "://") {
		return path
	}
	if l.Namespace == "" {
		return l.Base + path
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return l.Base + path + sep + "ns=" + url.QueryEscape(l.Namespace)
}
