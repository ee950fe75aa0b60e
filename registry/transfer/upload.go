package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// SmallBlob is sent with the request that closes the upload: it has no journal.
	SmallBlob = 1 << 20
	// firstChunk is what is sent at once to a registry that forgets the rest.
	firstChunk, leastChunk = 32 << 20, 4 << 20
)

// Content is the bytes of a blob that is sent. They may still be in the making.
type Content interface {
	// Open reads from an offset on.
	Open(ctx context.Context, off int64) (io.ReadCloser, error)
	// Whole waits until all is there, and tells what it is.
	Whole(ctx context.Context) (ocispec.Descriptor, error)
}

// Filed is content that lies in a file as it is sent, so that the kernel can send
// it by itself.
type Filed interface {
	Content
	// File opens it; the caller closes it.
	File() (*os.File, error)
	// Check reads all of it and tells whether it is what it should be.
	Check(context.Context) error
}

// Journal remembers where an upload goes on, over the death of the process.
type Journal interface {
	Location() string
	SetLocation(string) error
}

// Upload sends one blob to a repository.
type Upload struct {
	Line    *Line
	Content Content
	Blob    ocispec.Descriptor // empty as long as nobody knows
	From    []string           // repositories of the registry that may have the blob
	Sure    bool               // the first of them has it: it is linked without asking more
	Slots   chan struct{}      // if set: bounds the uploads that go on together
	Event   func(Step)
	// OpenJournal, if set, is called for a blob that is worth it. When it, or writing to it, fails, the
	// upload goes on without.
	OpenJournal func() (Journal, error)

	journal Journal // nil if there is none

	loc     *url.URL // of the session
	resumed bool     // it is one of an earlier run
	asked   bool     // the registry said how much of the blob is there
	offset  int64    // how much that is
	eof     bool     // all of it
	chunk   int64    // bytes of one request; 0 is no bound

	checked func() error // waits for Filed.Check; nil where reading checks
}

// Step tells how far an upload is.
type Step struct {
	Action string // "exists", "mounted", "upload", "done"
	Sent   int64
	Size   int64 // 0 if unknown
}

// Exists asks whether the repository has a blob.
func (l *Line) Exists(ctx context.Context, d digest.Digest) (bool, error) {
	resp, err := l.Do(ctx, http.MethodHead, l.Path("blobs/%s", d), nil, nil, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	return resp.StatusCode == http.StatusOK, resp.Body.Close()
}

// Run sends the blob unless the registry has it, and tells what it is.
func (u *Upload) Run(ctx context.Context) (ocispec.Descriptor, error) {
	spared, err := u.spare(ctx)
	if err != nil {
		return u.Blob, err
	}
	if spared != "" {
		return u.end(spared)
	}
	if u.Slots != nil {
		select {
		case u.Slots <- struct{}{}:
			defer func() { <-u.Slots }()
		case <-ctx.Done():
			return u.Blob, ctx.Err()
		}
	}
	mounted, err := u.begin(ctx)
	if err != nil {
		return u.Blob, err
	}
	if mounted {
		return u.end("mounted")
	}
	defer u.check(ctx)()
	return u.deliver(ctx)
}

// deliver sends the blob, from the start again where the registry lost it.
func (u *Upload) deliver(ctx context.Context) (ocispec.Descriptor, error) {
	for try := 1; ; try++ {
		err := u.send(ctx)
		if err == nil {
			return u.end("done")
		}
		if try >= tries || ctx.Err() != nil || u.final(err) {
			return u.Blob, fmt.Errorf("upload %s: %w", u.Blob.Digest, err)
		}
		if u.arrived(ctx) {
			return u.end("done")
		}
		if err := u.open(ctx); err != nil {
			return u.Blob, err
		}
	}
}

// arrived tells that the registry has the blob, though it was not heard to say so: the
// answer to the closing request was lost, or came too late.
func (u *Upload) arrived(ctx context.Context) bool {
	if u.Blob.Digest == "" {
		return false
	}
	there, err := u.Line.Exists(ctx, u.Blob.Digest)
	return there && err == nil
}

// spare finds out whether nothing has to be sent, and says why.
func (u *Upload) spare(ctx context.Context) (string, error) {
	if u.Blob.Digest == "" {
		return "", nil
	}
	if u.Sure && len(u.From) > 0 {
		if mounted, _ := u.mount(ctx, u.From[0]); mounted { // a refusal is none yet: it can be sent
			return "mounted", nil
		}
		u.From = u.From[1:]
	}
	there, err := u.Line.Exists(ctx, u.Blob.Digest)
	if err != nil || !there {
		return "", err
	}
	if u.loc != nil { // the session that was offered in place of a link
		u.cancel(ctx)
	}
	return "exists", nil
}

// check lets the content be read beside the sending, where it lies in a file. What
// it gives back ends that.
func (u *Upload) check(ctx context.Context) (end func()) {
	f, ok := u.Content.(Filed)
	if !ok || u.small() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = f.Check(ctx)
	}()
	u.checked = func() error {
		<-done
		return err
	}
	return func() {
		cancel()
		<-done
	}
}

func (u *Upload) end(action string) (ocispec.Descriptor, error) {
	u.Event(Step{Action: action, Sent: u.Blob.Size, Size: u.Blob.Size})
	return u.Blob, nil
}

// final says whether a failure would be the same for an upload from the start. One whose
// session was lost (404), or is not where we thought (416), would not, nor one of an
// earlier run whose bytes were others (400): it may have been compressed in another way.
func (u *Upload) final(err error) bool {
	if errors.Is(err, errContent) || errors.Is(err, errLost) {
		return errors.Is(err, errContent)
	}
	switch status := Status(err); status {
	case 0, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestedRangeNotSatisfiable, http.StatusConflict:
		return false
	case http.StatusBadRequest:
		return !u.resumed
	default:
		return !passing(status)
	}
}

// begin finds the session to send to: one of an earlier run, or a new one, for
// which the registry may offer to link the blob instead.
func (u *Upload) begin(ctx context.Context) (mounted bool, err error) {
	if u.resume(ctx) {
		return false, nil
	}
	for _, from := range u.From {
		if u.Blob.Digest == "" || u.loc != nil {
			break
		}
		mounted, err := u.mount(ctx, from)
		if mounted || err == nil && u.loc != nil {
			return mounted, nil
		}
	}
	if u.loc != nil {
		return false, nil
	}
	return false, u.open(ctx)
}

// resume goes on with the session of an earlier run, if it is still there.
func (u *Upload) resume(ctx context.Context) bool {
	if u.OpenJournal == nil || u.small() {
		return false
	}
	j, err := u.OpenJournal()
	if err != nil {
		return false
	}
	u.journal = j
	if j.Location() == "" {
		return false
	}
	loc, err := u.Line.sameOrigin(u.journal.Location())
	if err != nil {
		return false
	}
	u.loc = loc
	if u.ask(ctx) != nil {
		u.loc, u.offset = nil, 0
		return false
	}
	u.resumed = true
	return true
}

// mount asks for a link from another repository. A registry that does not do it
// opens a session instead. A refusal is no error: the blob can still be sent.
func (u *Upload) mount(ctx context.Context, from string) (bool, error) {
	resp, err := u.Line.mount(ctx, u.Blob.Digest, from)
	if err != nil || resp.StatusCode == http.StatusCreated {
		return err == nil, err
	}
	return false, u.located(resp)
}

func (l *Line) mount(ctx context.Context, d digest.Digest, from string) (*http.Response, error) {
	q := url.Values{"mount": {string(d)}, "from": {from}}
	resp, err := l.Do(ctx, http.MethodPost, l.Path("blobs/uploads/")+"?"+q.Encode(), nil, nil, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	return resp, resp.Body.Close()
}

// Mount asks for a link to a blob of another repository, and tells whether it was
// made. A session that is offered instead is given up.
func (l *Line) Mount(ctx context.Context, d digest.Digest, from string) (bool, error) {
	resp, err := l.mount(ctx, d, from)
	if err != nil || resp.StatusCode == http.StatusCreated {
		return err == nil, err
	}
	u := &Upload{Line: l}
	if err := u.located(resp); err != nil {
		return false, err
	}
	u.cancel(ctx)
	return false, nil
}

// cancel gives a session up.
func (u *Upload) cancel(ctx context.Context) {
	if resp, err := u.Line.Once(ctx, http.MethodDelete, u.loc.String(), nil, nil); err == nil {
		resp.Body.Close()
	}
}

// open begins a session.
func (u *Upload) open(ctx context.Context) error {
	u.loc, u.resumed, u.asked, u.offset, u.eof = nil, false, false, 0, false
	resp, err := u.Line.Do(ctx, http.MethodPost, u.Line.Path("blobs/uploads/"), nil, nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return u.located(resp)
}

// located reads where an upload goes on, and remembers it.
func (u *Upload) located(resp *http.Response) error {
	loc, err := resp.Location()
	if err != nil {
		return fmt.Errorf("upload location: %w", err)
	}
	if u.loc, err = u.Line.sameOrigin(loc.String()); err != nil {
		return err
	}
	if u.journal != nil && u.journal.SetLocation(u.loc.String()) != nil { // a full disk, perhaps
		u.journal = nil
	}
	return nil
}

// sameOrigin refuses another origin: bytes and credentials are for this registry.
func (l *Line) sameOrigin(location string) (*url.URL, error) {
	loc, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("upload location: %w", err)
	}
	base, err := url.Parse(l.Base)
	if err != nil {
		return nil, err
	}
	// A loopback registry may have TLS; back to plain text it may not go.
	same := loc.Scheme == base.Scheme || loc.Scheme == "https"
	if !same || !SameHost(loc.Scheme, loc.Host, base.Host) {
		return nil, fmt.Errorf("the registry sends the upload to another origin (%s://%s)", loc.Scheme, loc.Host)
	}
	loc.Host = base.Host
	return loc, nil
}

// small tells of a blob that goes with the closing request.
func (u *Upload) small() bool { return u.Blob.Digest != "" && u.Blob.Size <= SmallBlob && u.chunk == 0 }
