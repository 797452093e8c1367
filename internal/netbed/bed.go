package netbed

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
)

// ErrClosed says that the bed, and with it the host, is gone.
var ErrClosed = errors.New("netbed: bed is closed")

// Bed is a set of hosts. Its methods may be called by several goroutines.
type Bed struct {
	ctx    context.Context // ends the commands
	cancel context.CancelFunc

	mu     sync.RWMutex
	hosts  map[string]*Host
	closed bool
}

// New makes a bed without hosts. Commands on its hosts are killed when ctx ends; the namespaces stay until Close.
// Where namespaces cannot be made the error is a *ForbiddenError that says why.
func New(ctx context.Context) (*Bed, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, forbidden(err)
	}
	if err := ns.Close(); err != nil {
		return nil, fmt.Errorf("netbed: close a namespace: %w", err)
	}
	b := &Bed{hosts: make(map[string]*Host)}
	b.ctx, b.cancel = context.WithCancel(ctx)
	return b, nil
}

// hostName keeps the interface "to-<name>-<n>" within the kernel's 15 characters.
var hostName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,9}$`)

// Host makes a host: a namespace with the loopback interface up and nothing else. The name is 1 to 10 lower-case
// letters, digits and hyphens; a second host of the same name is an error.
func (b *Bed) Host(name string) (*Host, error) {
	if !hostName.MatchString(name) {
		return nil, fmt.Errorf("netbed: bad host name %q: want 1 to 10 of a-z, 0-9 and -", name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	if b.hosts[name] != nil {
		return nil, fmt.Errorf("netbed: host %s exists already", name)
	}
	ns, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("netbed: host %s: %w", name, err)
	}
	h := &Host{bed: b, name: name, ns: ns}
	b.hosts[name] = h
	return h, nil
}

// Close kills what runs on the hosts and lets the namespaces go. The order: first no new work is taken, then the
// commands' context ends, which kills their process groups; then what else still lives in the namespaces, such as a
// daemon that left its group, is killed by its process id and awaited for a bounded time; last the descriptors that
// hold the namespaces are closed. A socket that the caller got from Dial or Listen keeps its namespace alive until
// the caller closes it. Close may be called more than once.
func (b *Bed) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	errs := []error{b.killRest()}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range b.hosts {
		errs = append(errs, h.ns.Close())
	}
	return errors.Join(errs...)
}
