package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

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
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- control.Serve(ctx, socket, noCards{}, stream) }()
	for end := time.Now().Add(within); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	live := bipctl(ctx, t, t.TempDir(), "trace", "--socket", socket, "--pcapng", "-")
	out, err := live.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := live.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(within); !stream.Wanted(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("bipctl does not listen")
		}
	}
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
