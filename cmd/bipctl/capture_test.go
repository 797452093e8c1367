package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"

	"bipd/internal/control"
	"bipd/trace"
)

type noCards struct{}

func (noCards) Cards() []control.Card       { return nil }
func (noCards) Channels() []control.Channel { return nil }

// A capture is written live: each packet can be read while bipctl goes on.
func TestTracePcapng(t *testing.T) {
	stream := &trace.Stream{Source: "bipd"}
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithTimeout(t.Context(), 3*within)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- control.Serve(ctx, socket, 0, noCards{}, stream) }()
	await(t, "the control socket", within, func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	live := bipctl(ctx, t, t.TempDir(), "trace", "--socket", socket, "--pcapng", "-")
	out, err := live.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := live.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "that bipctl listens", within, stream.Wanted)
	stream.Emit(trace.Event{From: trace.CP, To: trace.UICC, Card: "card0", APDU: "80F2000000", RAPDU: "9000"})
	r, err := pcapgo.NewNgReader(out, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if data, ci, err := r.ReadPacketData(); err != nil || ci.InterfaceIndex != 0 || len(data) != 20+8+16+7 {
		t.Errorf("packet %X, %+v, %v", data, ci, err)
	}
	if err := live.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := live.Wait(); err != nil {
		t.Errorf("bipctl: %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
