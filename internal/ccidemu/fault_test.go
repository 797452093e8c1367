package ccidemu

import (
	"errors"
	"testing"
	"time"

	"bipd/ccid/usbfs"
	"bipd/softuicc"
)

// ready is a host whose card has power.
func ready(t testing.TB, m Model, cfg softuicc.ContactsConfig) *host {
	t.Helper()
	h := newHost(t, m)
	h.insert(0, "", cfg)
	sel := "010000"
	if m.has(FeatureVoltage) {
		sel = "000000"
	}
	h.expect(msgIccPowerOn, 0, sel, "", active+" "+softATR)
	return h
}

// transfers sends STATUS with bSeq 00 and gives what bulk IN transfers bring; "-" is that nothing is to come.
func (h *host) transfers(n int) (list []string) {
	h.t.Helper()
	h.seq = 0
	if err := h.tr.Send(h.ctx, h.command(msgXfrBlock, 0, "000000", unhex(h.t, status00))); err != nil {
		return []string{err.Error()}
	}
	h.r.working.Wait()
	for range n {
		h.r.mu.Lock()
		idle := len(h.r.bulkIn.packets) == 0
		h.r.mu.Unlock()
		if idle {
			list = append(list, "-")
			continue
		}
		buf := make([]byte, 1024)
		k, err := h.tr.Receive(h.ctx, buf)
		switch {
		case errors.Is(err, usbfs.ErrStall):
			list = append(list, "stall")
		case err != nil:
			h.t.Fatal(err)
		default:
			list = append(list, tohex(buf[:k]))
		}
	}
	return list
}

func TestFaults(t *testing.T) {
	const good = "80020000000000000000" + "9000"
	for name, tc := range map[string]struct {
		faults []Fault
		want   []string
	}{
		"none":           {nil, []string{good, "-"}},
		"silent":         {[]Fault{{Kind: Silent}}, []string{"-"}},
		"twice":          {[]Fault{{Kind: Twice}}, []string{good, good, "-"}},
		"foreign bSeq":   {[]Fault{{Kind: ForeignSeq}}, []string{"8002000000" + "00" + "FF" + "000000" + "6FFF", good, "-"}},
		"foreign slot":   {[]Fault{{Kind: ForeignSlot}}, []string{"8002000000" + "01" + "00" + "000000" + "6FFE", good, "-"}},
		"stall in":       {[]Fault{{Kind: StallIn}}, []string{"stall", good, "-"}},
		"stall out":      {[]Fault{{Kind: StallOut}}, []string{"ccidemu: bulk OUT: the device stalled the transfer"}},
		"trailing":       {[]Fault{{Kind: Trailing, N: 3}}, []string{good + "000000", "-"}},
		"longer":         {[]Fault{{Kind: Longer, N: 4}}, []string{"80060000000000000000" + "9000", "-"}},
		"shorter":        {[]Fault{{Kind: Shorter, N: 9}}, []string{"80000000000000000000" + "9000", "-"}},
		"cut":            {[]Fault{{Kind: Cut, N: 4}}, []string{"80020000", "-"}},
		"split":          {[]Fault{{Kind: Split, N: 5}}, []string{good[:10], good[10:20], good[20:], "-"}},
		"time":           {[]Fault{{Kind: Extend, N: 2}}, []string{"80000000000000800100", "80000000000000800100", good, "-"}},
		"failure":        {[]Fault{{Kind: Fail, N: 0xFB}}, []string{"8000000000000040FB00", "-"}},
		"no error bit":   {[]Fault{{Kind: Fail, N: 0xFB}, {Kind: NoErrorBit}}, []string{"80000000000000000000", "-"}},
		"no error code":  {[]Fault{{Kind: Fail, N: 0xFB}, {Kind: NoErrorCode}}, []string{"80000000000000400000", "-"}},
		"unsupported":    {[]Fault{{Kind: Unsupported}}, []string{"81000000000000400000", "-"}},
		"dropped":        {[]Fault{{Kind: DropAbove, N: 11}}, []string{"-"}},
		"not dropped":    {[]Fault{{Kind: DropAbove, N: 12}}, []string{good}},
		"second alone":   {[]Fault{{Kind: Silent, Nth: 2}}, []string{good, "-"}},
		"other messages": {[]Fault{{Kind: Silent, Message: msgEscape}}, []string{good, "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := ready(t, SCR3310(), softuicc.ContactsConfig{})
			h.r.SetFaults(tc.faults...)
			got := h.transfers(len(tc.want))
			for i, want := range tc.want {
				if i >= len(got) || got[i] != want {
					t.Fatalf("transfers %q, want %q", got, tc.want)
				}
			}
			h.clean()
		})
	}
}

func TestLateAnswers(t *testing.T) {
	h := ready(t, SCR3310(), softuicc.ContactsConfig{})
	h.r.SetFaults(Fault{Kind: Late, Nth: 1})
	first := h.command(msgXfrBlock, 0, "000000", unhex(t, getMF))
	h.send(first)
	h.r.working.Wait()
	second := h.command(msgGetSlotStatus, 0, "000000", nil)
	h.send(second)
	if got := h.answer(first); got != active+" 611F" {
		t.Errorf("late answer %s", got)
	}
	if got := h.answer(second); got != active {
		t.Errorf("answer %s", got)
	}
	h.clean()
}

// TestTransferEnds has an answer of one packet exactly, and another one.
func TestTransferEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		faults []Fault
		want   []int // octets of the transfers
	}{
		"standard": {nil, []int{64, 12}},
		"stray":    {[]Fault{{Kind: StrayZLP}}, []int{64, 0, 12}},
		"no end":   {[]Fault{{Kind: NoZLP}}, []int{76}}, // the transfer goes on with the next message
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, SCR3310())
			c := parseCommand(h.command(msgXfrBlock, 0, "000000", nil))
			c.faults = tc.faults
			h.r.mu.Lock()
			h.r.deliver(c, answer(msgDataBlock, 0, c.seq, 0, 0, 0, make([]byte, 54)))
			h.r.deliver(c, answer(msgDataBlock, 0, c.seq, 0, 0, 0, make([]byte, 2)))
			h.r.mu.Unlock()
			for i, n := range tc.want {
				if got := len(h.receive()); got != n {
					t.Errorf("transfer %d has %d octets, want %d", i, got, n)
				}
			}
		})
	}
}

// extensions reads time extensions until the answer comes, and counts them.
func (h *host) extensions(c []byte) (n int, last string) {
	h.t.Helper()
	for {
		a := h.receive()
		if len(a) < headerLength || a[6] != c[6] {
			h.t.Fatalf("answer %X", a)
		}
		if a[7] != statusTime {
			return n, tohex(a[7:])
		}
		if a[8] != 1 || len(a) != headerLength {
			h.t.Fatalf("time extension %X", a)
		}
		n++
	}
}

func TestExtensions(t *testing.T) {
	h := ready(t, SCR3310(), softuicc.ContactsConfig{T0: softuicc.T0Config{Nulls: 3}})
	c := h.command(msgXfrBlock, 0, "000000", unhex(t, status00))
	h.send(c)
	if n, last := h.extensions(c); n != 3 || last != "0000009000" {
		t.Errorf("%d time extensions and %s", n, last)
	}
	h.r.Unplug()

	m := CardMan3121()
	m.ExtendEvery = time.Millisecond
	h = newHost(t, m)
	card := h.insert(0, "", softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "010000", "", active+" "+softATR)
	stuck := make(chan struct{})
	card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault { close(stuck); return softuicc.Stuck }})
	c = h.command(msgXfrBlock, 0, "000000", unhex(t, status00))
	h.send(c)
	await(t, "APDU", stuck)
	for range 2 {
		if a := h.receive(); a[7] != statusTime {
			t.Errorf("answer %X", a)
		}
	}
	h.r.Remove(0)
	if _, last := h.extensions(c); last != "42FE00" {
		t.Errorf("answer of the card that was pulled: %s", last)
	}
	h.clean()
}

// TestWaitingTime has a card that says nothing for longer than the reader waits.
func TestWaitingTime(t *testing.T) {
	for _, atr := range []string{softATR, atrOne} {
		m := SCR3310()
		m.WaitingTime = 30 * time.Millisecond
		h := newHost(t, m)
		card := h.insert(0, atr, softuicc.ContactsConfig{})
		h.expect(msgIccPowerOn, 0, "000000", "", active+" "+atr)
		card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault { return softuicc.Stuck }})
		data := status00
		if atr == atrOne {
			data = "000004" + "80F2000C" + "7A"
		}
		h.expect(msgXfrBlock, 0, "000000", data, "40FE00")
		h.clean()
		h.r.Unplug()
	}
}

func stuckCommand(t *testing.T, h *host) []byte {
	t.Helper()
	c := softuicc.Config{}
	card := newCard(t, c)
	if err := h.r.Insert(0, card, softuicc.ContactsConfig{}); err != nil {
		t.Fatal(err)
	}
	h.expect(msgIccPowerOn, 0, "000000", "", active+" "+softATR)
	stuck := make(chan struct{}, 1)
	card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault { stuck <- struct{}{}; return softuicc.Stuck }})
	command := h.command(msgXfrBlock, 0, "000000", unhex(t, status00))
	h.send(command)
	await(t, "APDU", stuck)
	card.SetQuirks(softuicc.Quirks{})
	return command
}

// TestAbort ends a command that does not come to an end, by both halves of ABORT in either order.
func TestAbort(t *testing.T) {
	for _, requestFirst := range []bool{true, false} {
		h := newHost(t, SCR3310())
		stuckCommand(t, h)
		request := func(seq byte) {
			if _, err := h.tr.Control(h.ctx, typeClassOut, requestAbort, uint16(seq)<<8, nil); err != nil {
				t.Fatal(err)
			}
		}
		if requestFirst {
			request(h.seq + 1)
			h.expect(msgGetSlotStatus, 0, "000000", "", "40FF00") // CMD_ABORTED between the halves
			h.expect(msgAbort, 0, "000000", "", active)
		} else {
			c := h.command(msgAbort, 0, "000000", nil)
			h.send(c)
			h.expect(msgGetSlotStatus, 0, "000000", "", "40FF00")
			request(c[6])
			if got := h.answer(c); got != active {
				t.Errorf("Abort: %s", got)
			}
		}
		h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000")
		h.clean()
		if _, err := h.tr.Control(h.ctx, typeClassOut, requestAbort, 1, nil); !errors.Is(err, usbfs.ErrStall) {
			t.Errorf("ABORT for slot 1: %v", err)
		}
		h.breaches("ABORT for slot 1")
		h.r.Unplug()
	}
}
