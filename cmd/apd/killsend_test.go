package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bipd/cat"
	"bipd/softuicc"
)

// sending is an upload as the server sees it.
type sending struct {
	octets atomic.Int64
	ended  chan error // io.EOF after FIN
}

// TestKilledWhileSending kills a daemon in the middle of uploads by both methods: the server sees a reset, never an orderly
// end, wherever the connection was in the daemon's hands.
func TestKilledWhileSending(t *testing.T) {
	s := newKillStand(t)
	uploads := make(chan *sending, 10)
	server := takeUploads(t, uploads)
	s.start("bipd")
	s.start("apd")
	for _, victim := range []string{"apd", "bipd"} {
		bearers := []cat.BearerType{cat.BearerWLAN}
		if victim == "bipd" {
			s.start("apd")
			bearers = append(bearers, cat.BearerPacket)
		}
		s.awaitLines()
		var list []*sending
		for _, bearer := range bearers {
			card := len(list)
			if victim == "bipd" {
				card++ // the first is still in the reader
			}
			s.running.Go(func() { s.upload(s.cards[card].socket, bearer, server) })
			select {
			case u := <-uploads:
				list = append(list, u)
			case <-time.After(patience):
				t.Fatal("no upload")
			}
		}
		for _, u := range list {
			s.await("an upload", func() bool { return u.octets.Load() > 20_000 })
		}
		s.kill(victim)
		for _, u := range list {
			if err := <-u.ended; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s killed: after %d octets the server sees %v, want a reset", victim, u.octets.Load(), err)
			}
		}
	}
}

// takeUploads is a server that reads to the end of each connection.
func takeUploads(t *testing.T, uploads chan<- *sending) netip.AddrPort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	clients.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			clients.Go(func() {
				defer c.Close()
				u := &sending{ended: make(chan error, 1)}
				uploads <- u
				for buf := make([]byte, 4096); ; {
					n, err := c.Read(buf)
					u.octets.Add(int64(n))
					if err != nil {
						u.ended <- err
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); clients.Wait() })
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// upload puts a card into bipd's reader that sends until the stand ends or bipd is gone.
func (s *killStand) upload(socket string, bearer cat.BearerType, server netip.AddrPort) {
	card, err := softuicc.New(softuicc.Config{Name: "sender", Applets: []softuicc.Applet{
		func(ctx context.Context, tk *softuicc.Toolkit) error {
			conn, err := tk.Dial(ctx, softuicc.DialParams{
				Bearer: cat.BearerDescription{Type: bearer}, Transport: cat.TCPClientRemote, Remote: server, Qualifier: cat.OpenImmediate,
			})
			if err != nil {
				return err
			}
			for err == nil {
				_, err = conn.Write(make([]byte, 1000))
			}
			return nil
		}}})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer card.Close()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		s.t.Error(err)
		return
	}
	_ = softuicc.ServeVPCD(s.ctx, conn, card) // ends as bipd is killed
}
