package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/hodbuild/hod/registry/server"
	"github.com/urfave/cli/v2"
)

// certificate is what a server shows to those who connect; it may change.
type certificate struct {
	now atomic.Pointer[tls.Certificate]
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil }

// certificateOf reads what --tls-cert and --tls-key name; nil without.
func certificateOf(c *cli.Context) (*certificate, error) {
	if c.String("tls-cert") == "" {
		return nil, nil
	}
	read, err := tls.LoadX509KeyPair(c.String("tls-cert"), c.String("tls-key"))
	if err != nil {
		return nil, fmt.Errorf("serve: read the certificate: %w", err)
	}
	made := &certificate{}
	made.now.Store(&read)
	return made, nil
}

// readAgain reads certificate, users and rules again at each SIGHUP that comes, and changes
// nothing where one of them is wrong.
func readAgain(c *cli.Context, hup <-chan os.Signal, handler *server.Server, cert *certificate) {
	for range hup {
		o := server.Options{}
		err := serveAuth(c, &o)
		fresh, cerr := certificateOf(c)
		if err = errors.Join(err, cerr); err != nil {
			for _, one := range apart(err) {
				fmt.Fprintf(c.App.ErrWriter, "%s; all stays as it was\n", printable(one.Error()))
			}
			continue
		}
		if o.Auth != nil {
			handler.SetAuth(o.Auth)
		}
		if fresh != nil {
			cert.now.Store(fresh.now.Load())
		}
		fmt.Fprintln(c.App.ErrWriter, "read again: certificate, users and rules")
	}
}
