package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Agent is an ssh agent that a build may use: the user's own at a socket, or keys from files, which hod holds itself.
// Through a Relay it lists keys and signs; nobody takes, adds or locks a key there, unless it is raw.
type Agent struct {
	socket string
	raw    bool
	keys   agent.ExtendedAgent // nil where there is a socket
}

// OpenAgent gives the agent at a socket, or one that holds the private keys in files. With raw everything passes to the
// socket, whatever listens there.
func OpenAgent(paths []string, raw bool) (*Agent, error) {
	a := &Agent{raw: raw}
	for _, p := range paths {
		st, err := os.Stat(p)
		switch {
		case err != nil:
		case st.Mode().Type() == os.ModeSocket && a.socket == "":
			a.socket, err = p, answers(p)
		case st.Mode().Type() == os.ModeSocket:
			err = errors.New("only one socket can be given")
		default:
			err = a.read(p)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case a.socket != "" && a.keys != nil:
		return nil, errors.New("a socket and files of keys do not go together: give one of them another id")
	case raw && a.socket == "":
		return nil, errors.New("raw is for a socket")
	}
	return a, nil
}

func answers(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return fmt.Errorf("nobody answers at %s: is the agent running?", socket)
	}
	return c.Close()
}

const maxKey = 100 << 10

// read adds the key in a file.
func (a *Agent) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return err
	}
	key, err := ssh.ParseRawPrivateKey(text)
	if err == nil {
		if a.keys == nil {
			a.keys = agent.NewKeyring().(agent.ExtendedAgent)
		}
		err = a.keys.Add(agent.AddedKey{PrivateKey: key})
	}
	if err == nil {
		return nil
	}
	e := &keyError{file: file, what: "is neither the socket of an agent nor a private key that can be read (" + err.Error() + ")"}
	if _, _, _, _, public := ssh.ParseAuthorizedKey(text); public == nil {
		e.what = "is a public key: give the file of the private one"
	}
	if missing := new(ssh.PassphraseMissingError); errors.As(err, &missing) {
		e.what = "is protected by a passphrase"
	}
	return e
}

// keyError is a file that is no key for us.
type keyError struct{ file, what string }

func (e *keyError) Error() string { return e.file + " " + e.what }

// Hint says what reads every key.
func (e *keyError) Hint() string {
	return fmt.Sprintf("an agent takes keys of all kinds: ssh-add %s, then --ssh default", e.file)
}

// longestSocket is what all systems take as the name of a socket.
const longestSocket = 103

// Relay listens at a socket that it makes, and leads each connection to the agent, until it is closed.
func (a *Agent) Relay(ctx context.Context, socket string) (done func(), err error) {
	if len(socket) > longestSocket {
		return nil, fmt.Errorf("the temporary folder's name is too long for the agent's socket %q: set TMPDIR to a shorter one", socket)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { a.serve(ctx, c) })
		}
	})
	return func() { cancel(); l.Close(); all.Wait() }, nil
}

// lead says at which socket programs of this machine reach the agent, "" without one; the name is for one that is made.
func (a *Agent) lead(ctx context.Context, name string) (socket string, done func(), err error) {
	switch {
	case a == nil:
		return "", func() {}, nil
	case a.keys == nil:
		return a.socket, func() {}, nil
	}
	done, err = a.Relay(ctx, name)
	return name, done, err
}

// serve answers one connection.
func (a *Agent) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if a.keys != nil {
		agent.ServeAgent(readOnly{a.keys}, c)
		return
	}
	to, err := (&net.Dialer{}).DialContext(ctx, "unix", a.socket)
	if err != nil {
		return
	}
	defer to.Close()
	defer context.AfterFunc(ctx, func() { to.Close() })()
	if !a.raw {
		agent.ServeAgent(readOnly{agent.NewClient(to)}, c)
		return
	}
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		io.Copy(to, from)
		to.(*net.UnixConn).CloseWrite()
	}
	both.Go(func() { pass(to, c) })
	both.Go(func() { pass(c, to) })
	both.Wait()
}

// readOnly is an agent whose keys are used and stay as they are.
type readOnly struct{ agent.ExtendedAgent }

var errReadOnly = errors.New("a build uses the keys of an agent and does not change them")

func (readOnly) Add(agent.AddedKey) error       { return errReadOnly }
func (readOnly) Remove(ssh.PublicKey) error     { return errReadOnly }
func (readOnly) RemoveAll() error               { return errReadOnly }
func (readOnly) Lock([]byte) error              { return errReadOnly }
func (readOnly) Unlock([]byte) error            { return errReadOnly }
func (readOnly) Signers() ([]ssh.Signer, error) { return nil, errReadOnly }

func (readOnly) Extension(string, []byte) ([]byte, error) { return nil, agent.ErrExtensionUnsupported }
