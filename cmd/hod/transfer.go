package main

import (
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"strings"

	"github.com/hodbuild/hod/cmd/hod/progress"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	"github.com/urfave/cli/v2"
)

// shownClient is a client whose transfers are rows of a view.
func shownClient(c *cli.Context, v *progress.View) *registry.Client {
	return registry.New(registry.Options{PlainHTTP: c.StringSlice("plain-http"), Progress: tellTransfer(v)})
}

// transfer is a client with a view of its own.
type transfer struct {
	client *registry.Client
	view   *progress.View
}

// newTransfer makes a client that shows what it does. The caller closes the view
// before anything else is printed.
func newTransfer(c *cli.Context, title string) (*transfer, error) {
	v, err := newView(c, title)
	if err != nil {
		return nil, err
	}
	return &transfer{client: shownClient(c, v), view: v}, nil
}

// completeImages brings the layers of images that were left in a registry when nobody needed them.
func completeImages(c *cli.Context, s *layers.Store, images ...*layers.Image) error {
	for _, img := range images {
		missing := s.Missing(img)
		if len(missing) == 0 {
			continue
		}
		t, err := newTransfer(c, "fetching layers of "+img.ID.String())
		if err != nil {
			return err
		}
		err = t.client.Complete(c.Context, s, img)
		t.view.Close()
		var status *registry.StatusError
		if errors.As(err, &status) && status.Status == http.StatusNotFound {
			return withHint(err, "build or pull the image again")
		}
		if n, perr := layers.ParseName(missing[0].From[0]); err != nil && perr == nil {
			return registryHint(err, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// registryHint says what to do about the usual refusals.
func registryHint(err error, n layers.Name) error {
	var status *registry.StatusError
	var certificate *tls.CertificateVerificationError
	var own interface{ Hint() string }
	switch {
	case errors.As(err, &own): // it knows better
		return err
	case errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden):
		return withHint(err, "hod login "+n.Registry)
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		return withHint(err, "hod tags "+n.FamiliarRepository()+" lists what is there")
	case errors.As(err, &certificate):
		return withHint(err, "ca = \"FILE\" in certs.d/"+n.Registry+"/hosts.toml trusts the authority that made its certificate")
	case errors.Is(err, registry.ErrUnreachable) && n.Registry == layers.DefaultRegistry:
		return withHint(err, "hod images lists what is here; build, load and import bring images without a registry")
	case errors.Is(err, http.ErrSchemeMismatch):
		return withHint(err, "it has no TLS: --plain-http "+n.Registry+" speaks to it without, if you trust the network as far as there")
	case errors.Is(err, registry.ErrUnreachable):
		return withHint(err, "check the host's name and port, and the proxies in the environment")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return withHint(err, "try again: what was received is kept")
	}
	return err
}

// pushHint is registryHint where something was sent: most often the name says
// another registry than was meant.
func pushHint(err error, n layers.Name) error {
	if n.Registry == layers.DefaultRegistry && errors.Is(err, registry.ErrUnreachable) {
		return withHint(err, "a name without a host is of docker.io: hod tag "+n.Familiar()+" HOST/"+n.Familiar()+" names it for another registry")
	}
	return registryHint(err, n)
}

// shortID is the first digits of a digest, as people compare them.
func shortID(d string) string {
	_, hex, _ := strings.Cut(d, ":")
	return hex[:min(len(hex), 12)]
}
