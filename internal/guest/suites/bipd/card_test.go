//go:build guest

package bipd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"bipd/cat"
	"bipd/softuicc"
)

// patience bounds what a test waits for. The machine is emulated, and may be shared.
const patience = 3 * time.Minute

// download is the card's applet: it fetches the file once in each session, and tells how that went.
type download struct {
	bearer cat.BearerDescription
	sum    [32]byte

	mu      sync.Mutex
	got     int // octets of the session under way
	runs    int
	changed chan struct{} // closed and renewed at each change
	done    int           // sessions that had the whole file, and the right one
	err     error         // of the last session that did not
}

// newDownload is the download of so many octets by method 1 (packet bearer) or 2 (WLAN).
func newDownload(method, size int) *download {
	d := &download{changed: make(chan struct{}), sum: sha256.Sum256(fileOf(size))}
	d.bearer = cat.BearerDescription{Type: cat.BearerWLAN}
	if method == 1 {
		d.bearer = cat.BearerDescription{Type: cat.BearerPacket, Parameters: []byte{0x03, 0x04, 0x03, 0x04, 0x1F, 0x02}}
	}
	return d
}

// update changes the state and wakes who waits for it.
func (d *download) update(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.changed)
	d.changed = make(chan struct{})
}

// await waits until the state is as wanted.
func (d *download) await(what string, is func() bool) error {
	timeout := time.After(patience)
	for {
		d.mu.Lock()
		ok, changed := is(), d.changed
		d.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("no %s within %v: %v", what, patience, d)
		}
	}
}

// String says how far the download is.
func (d *download) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("%d session(s), %d octets in the last, %d whole files, last error: %v", d.runs, d.got, d.done, d.err)
}

// Write counts what is read.
func (d *download) Write(b []byte) (int, error) {
	d.update(func() { d.got += len(b) })
	return len(b), nil
}

// applet is the softuicc.Applet.
func (d *download) applet(ctx context.Context, tk *softuicc.Toolkit) error {
	d.update(func() { d.runs, d.got = d.runs+1, 0 })
	err := d.fetch(ctx, tk)
	d.update(func() {
		if err == nil {
			d.done++
		} else {
			d.err = err
		}
	})
	return err
}

// fetch downloads with Go's own HTTP client over a BIP channel.
func (d *download) fetch(ctx context.Context, tk *softuicc.Toolkit) error {
	dial := tk.Dialer(softuicc.DialParams{Bearer: d.bearer, BufferSize: 1400,
		Qualifier: cat.OpenImmediate | cat.OpenBackground, NetworkAccessName: "internet"})
	var channel net.Conn
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		channel, err = dial(ctx, network, address)
		return channel, err
	}}
	defer func() {
		if channel != nil {
			channel.Close()
		}
		transport.CloseIdleConnections()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+serverAddress+"/file", nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(sum, d), resp.Body); err != nil {
		return err
	}
	if [32]byte(sum.Sum(nil)) != d.sum {
		return errors.New("the SHA-256 of the file differs")
	}
	return nil
}
