package terminal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"bipd/ap"
	"bipd/cat"
	"bipd/egress"
	"bipd/internal/ccidemu"
	"bipd/ptylink"
	"bipd/softuicc"
)

// streamServer sends its clients octets without end, and counts them while they are there.
func streamServer(t *testing.T) (netip.AddrPort, *atomic.Int32) {
	t.Helper()
	clients := new(atomic.Int32)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			clients.Add(1)
			go func() {
				defer clients.Add(-1)
				defer c.Close()
				for block := make([]byte, 4096); ; {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort(), clients
}

// serveAP is an AP at the line of this path until the end of the test.
func serveAP(t *testing.T, path string) {
	t.Helper()
	policy, err := egress.New(egress.Config{Rules: []egress.Rule{{Action: "allow", Prefix: []string{"127.0.0.0/8"}}}})
	if err != nil {
		t.Fatal(err)
	}
	profiles, err := ap.NewProfiles([]ap.Profile{{Name: "internet", Default: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		log := slog.New(slog.DiscardHandler)
		// The server sends for ever: it never closes its side.
		cfg := ap.Config{Profiles: profiles, Policy: policy, Network: present{}, FinishTime: time.Second, Log: log}
		done <- ap.New(cfg).ServeLine(ctx, ptylink.PeerConfig{
			Name: "sim", Log: log,
			Open: func(context.Context) (io.ReadWriteCloser, error) { return ptylink.OpenTTY(path, ptylink.TTYConfig{}) },
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("AP: %v", err)
			}
		case <-time.After(patience):
			t.Errorf("the AP does not end:\n%s", stacks())
		}
	})
}

// present is a network that is there.
type present struct{}

func (present) Status(context.Context, string) (ap.Status, error) {
	return ap.Status{Up: true, Access: ptylink.AccessWLAN, Interface: "wlan0"}, nil
}

// The reader is unplugged in the middle of a transfer by each method, and plugged in again: the channels end, the CP goes,
// and the card starts anew.
func TestUnpluggedInTransfer(t *testing.T) {
	for method, bearer := range map[int]cat.BearerDescription{
		1: {Type: cat.BearerPacket, Parameters: []byte{3, 4, 3, 4, 31, 2}}, 2: {Type: cat.BearerWLAN},
	} {
		t.Run(fmt.Sprintf("method %d", method), func(t *testing.T) {
			b := newBus(t)
			server, clients := streamServer(t)
			line := filepath.Join(t.TempDir(), "line-*")
			var runs atomic.Int32
			taken := make(chan error, 1)
			card, err := softuicc.New(softuicc.Config{Applets: []softuicc.Applet{func(ctx context.Context, tk *softuicc.Toolkit) error {
				runs.Add(1)
				c, err := tk.Dial(ctx, softuicc.DialParams{Bearer: bearer, Qualifier: cat.OpenImmediate, Remote: server, Transport: cat.TCPClientRemote})
				if err == nil {
					_, err = io.CopyN(io.Discard, c, 20000)
				}
				taken <- err
				<-ctx.Done()
				return nil
			}}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				card.Close()
				for _, v := range card.Violations() {
					t.Errorf("terminal against the specification: %v", v)
				}
			})
			serveAP(t, filepath.Join(filepath.Dir(line), "line-1-1.0"))
			s := start(t, b, fmt.Sprintf("[[card]]\nname = \"sim-*\"\nreader = \"ccid:*\"\n[card.line]\npath = %q\nmultiplexer = true\n"+
				"[[egress.rule]]\naction = \"allow\"\nprefix = [\"127.0.0.0/8\"]\n", line))
			for round := range int32(2) {
				if err := b.plug(t, "1-1", ccidemu.PCTwin()).Insert(0, card, softuicc.ContactsConfig{}); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-taken:
					if err != nil {
						t.Fatal(err)
					}
				case <-time.After(patience):
					t.Fatalf("no data within %v:\n%s", patience, stacks())
				}
				s.await(func() string { // the list is an old one while the card is busy for long
					if list := s.term.Channels(); len(list) != 1 || list[0].Card != "sim-1-1.0" || list[0].Method != method || runs.Load() != round+1 {
						return fmt.Sprintf("channels %+v of session %d", list, runs.Load())
					}
					return ""
				})
				b.unplug("1-1")
				s.awaitCards()
				s.await(func() string {
					if n := clients.Load(); n != 0 {
						return fmt.Sprintf("the server has %d client(s)", n)
					}
					return ""
				})
				if list := s.term.Channels(); len(list) != 0 {
					t.Errorf("channels %+v of no card", list)
				}
			}
		})
	}
}
