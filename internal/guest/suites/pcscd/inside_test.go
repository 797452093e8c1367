//go:build guest

package pcscd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bipd/ccid/usbfs"
	"bipd/uicc/pcsc"
)

// apdus are a terminal's first commands to a USIM, all cases and with errors among them.
var apdus = []string{
	"00A40004023F0000", // SELECT MF
	"00A40004022FE200", // EF_ICCID
	"00B000000A",       // READ BINARY
	"00A40004022F0000", // EF_DIR
	"00B2010430",       // READ RECORD
	"00B20304FF",       // no such record
	"00A4040410A0000000871002FFFFFFFF890302000000", // ADF of the USIM
	"00A40004026F0700", // EF_IMSI
	"00B0000009",       // READ BINARY
	"00A40004026FAD00", // EF_AD
	"00B0000004",       // READ BINARY
	"00A40004026FFF00", // no such file
	"80F2000000",       // STATUS
	"00FF0000",         // no such instruction
}

// The same card through pcscd, asked by us and by OpenSC, and through our driver.
func TestInsideSameAnswers(t *testing.T) {
	name, stopDaemon := startDaemon(t)
	reader, err := pcsc.New(name, pcsc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	throughDaemon := answers(t, reader, apdus)
	byOpenSC := openSC(t, apdus)
	stopDaemon()
	hub, _ := drive(t)
	ours := answers(t, anyReader(t, hub), apdus)
	if len(ours) != len(apdus)+1 || len(byOpenSC) != len(ours) || len(throughDaemon) != len(ours) {
		t.Fatalf("%d answers of the driver, %d through pcscd, %d by OpenSC, want %d each", len(ours), len(throughDaemon), len(byOpenSC), len(apdus)+1)
	}
	for i, question := range append([]string{"reset"}, apdus...) {
		if ours[i] != throughDaemon[i] || ours[i] != byOpenSC[i] {
			t.Errorf("%s:\n driver  %s\n pcscd   %s\n OpenSC  %s", question, ours[i], throughDaemon[i], byOpenSC[i])
		}
	}
	good := 0
	for _, a := range ours {
		if strings.HasSuffix(a, "9000") {
			good++
		}
	}
	if good < 10 {
		t.Errorf("only %d answers are good: %q", good, ours)
	}
}

// While pcscd has the reader the driver says so, and takes the reader when it is free, without being told.
func TestInsideInUse(t *testing.T) {
	_, stopDaemon := startDaemon(t)
	hub, stopDriver := drive(t)
	eventually(t, "the driver's word on the reader", func() error {
		list := hub.List()
		if len(list) != 1 || list[0].Err == nil {
			return fmt.Errorf("readers %+v", list)
		}
		var use *usbfs.InUseError
		if !errors.As(list[0].Err, &use) {
			t.Fatalf("the reader's error is %v", list[0].Err)
		}
		if !slices.ContainsFunc(use.Holders, func(p usbfs.Process) bool { return p.Name == "pcscd" }) {
			return fmt.Errorf("the error names the holders %+v", use.Holders)
		}
		return nil
	})
	if _, err := anyReader(t, hub).Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "pcscd") {
		t.Errorf("connecting to the reader that pcscd has: %v", err)
	}
	stopDaemon()
	if got := answers(t, anyReader(t, hub), apdus[:1]); !strings.HasSuffix(got[1], "9000") {
		t.Errorf("after pcscd has ended: %q", got)
	}

	// And the other way round: what the driver gives back pcscd can have.
	stopDriver()
	name, _ := startDaemon(t)
	reader, err := pcsc.New(name, pcsc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := answers(t, reader, apdus[:1]); !strings.HasSuffix(got[1], "9000") {
		t.Errorf("pcscd after the driver: %q", got)
	}
}
