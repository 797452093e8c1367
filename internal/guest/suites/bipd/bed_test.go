//go:build guest

package bipd

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/internal/control"
	"bipd/internal/guest"
	"bipd/internal/netbed"
)

// bed is the terminal and its surroundings in the guest:
//
//	method 1   cp ---- internet      ap has no way out
//	method 2   ap ---- internet      cp has no interface but lo
type bed struct {
	*testing.T
	dir     string
	bipd    *control.Client
	bipdLog string
}

// configs are what an operator would write. A card on the host may be slow to answer: it is polled often.
var configs = map[string]string{
	"bipd.toml": `[log]
level = "debug"
[control]
socket = "DIR/bipd.sock"
[terminal]
poll_interval = "1s"
[[card]]
name = "usb-*"
reader = "ccid:*"
[card.line]
path = "DIR/line-*"
multiplexer = true
keep_alive = "5s"
[[egress.rule]]
action = "allow"
prefix = ["203.0.113.0/24"]
`,
	"apd.toml": `profiles = "DIR/profiles.toml"
[log]
level = "debug"
[control]
socket = "DIR/apd.sock"
[[line]]
name = "SLOT"
path = "DIR/line-SLOT"
keep_alive = "5s"
[[egress.rule]]
action = "allow"
prefix = ["203.0.113.0/24"]
`,
	"profiles.toml": `[[profile]]
name = "internet"
default = true
pdp_type = "IP"
mtu = 1500
`,
}

// slot is where QEMU's reader is: the first port of the first bus.
const slot = "1-1.0"

// newBed starts the web server, bipd and apd, and waits until they have found each other.
func newBed(t *testing.T, method string) *bed {
	t.Helper()
	return newBedWith(t, method, func(text string) string { return text })
}

// newBedWith is newBed with configurations that are edited.
func newBedWith(t *testing.T, method string, edit func(string) string) *bed {
	t.Helper()
	b := &bed{T: t, dir: t.TempDir()}
	hosts := map[string]*netbed.Host{}
	net := netbed.ForTest(t)
	for _, name := range []string{"cp", "ap", "internet"} {
		h, err := net.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		hosts[name] = h
	}
	inside := map[string]*netbed.Host{"1": hosts["cp"], "2": hosts["ap"]}[method]
	if err := net.Link(inside, hosts["internet"], "203.0.113.2/24", serverAddress+"/24"); err != nil {
		t.Fatal(err)
	}
	b.serve(hosts["internet"])
	for name, text := range configs {
		text = strings.NewReplacer("DIR", b.dir, "SLOT", slot).Replace(edit(text))
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.bipdLog = b.start(hosts["cp"], "bipd")
	b.start(hosts["ap"], "apd")
	b.bipd = control.NewClient(filepath.Join(b.dir, "bipd.sock"))
	t.Cleanup(b.bipd.Close)
	b.awaitCard("with its line", func(c control.Card) bool { return c.Line == "multiplexed" })
	return b
}

// serve runs a web server with the file.
func (b *bed) serve(h *netbed.Host) {
	b.Helper()
	l, err := h.Listen(b.Context(), "tcp", serverAddress+":80")
	if err != nil {
		b.Fatal(err)
	}
	file := fileOf(fileSize)
	srv := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(file)))
		w.Write(file) // an error is the card's going away
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	b.Cleanup(func() {
		srv.Close()
		<-done
	})
}

// start runs a daemon until the end of the test, at which it must end well. It returns the path of its log.
func (b *bed) start(h *netbed.Host, name string) string {
	b.Helper()
	path := filepath.Join(b.dir, name+".log")
	log, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	cmd := h.Command(context.Background(), name, "--config", filepath.Join(b.dir, name+".toml"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		b.end(cmd, name)
		if text, err := os.ReadFile(path); b.Failed() && err == nil {
			b.Logf("the last of %s's log:\n%s", name, text[max(0, len(text)-6000):])
		}
	})
	return path
}

// end has a daemon end as systemd would.
func (b *bed) end(cmd *exec.Cmd, name string) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			b.Errorf("%s ended: %v", name, err)
		}
	case <-time.After(patience):
		b.Errorf("%s does not end", name)
		cmd.Process.Kill()
		<-ended
	}
}

// await asks is until it says yes.
func (b *bed) await(what string, is func() error) {
	b.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("no %s within %v: %v", what, patience, err)
		}
	}
}

// awaitCard waits until bipd has a card in the slot, and that is as wanted.
func (b *bed) awaitCard(what string, is func(control.Card) bool) {
	b.Helper()
	b.await("card "+what, func() error {
		cards, err := b.bipd.Cards(b.Context())
		if err != nil {
			return err
		}
		for _, c := range cards {
			if c.Name == "usb-"+slot && is(c) {
				return nil
			}
		}
		return fmt.Errorf("the cards are %+v", cards)
	})
}

// awaitNothing waits until bipd has no card and no channel: the reader is gone.
func (b *bed) awaitNothing() {
	b.Helper()
	b.await("end of the card", func() error {
		cards, err := b.bipd.Cards(b.Context())
		if err == nil && len(cards) > 0 {
			err = fmt.Errorf("the cards are %+v", cards)
		}
		return err
	})
	b.noChannels()
}

// noChannels wants no channel open, soon.
func (b *bed) noChannels() {
	b.Helper()
	b.await("end of the channels", func() error {
		channels, err := b.bipd.Channels(b.Context())
		if err == nil && len(channels) > 0 {
			err = fmt.Errorf("the channels are %+v", channels)
		}
		return err
	})
}

// ask has the host do something with the card or the reader.
func (b *bed) ask(what string) string {
	b.Helper()
	return guest.Ask(b.T, what, "")
}
