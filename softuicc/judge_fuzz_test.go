package softuicc

import (
	"bytes"
	"testing"

	"bipd/cat"
)

// FuzzJudge shows the judge any command, response and envelope. What it lets pass, package cat has to read as well: the
// two readers were written apart.
func FuzzJudge(f *testing.F) {
	add := func(command, rest, envelope string) {
		m := unhex(f, command)
		f.Add(m, append(frame(m), unhex(f, rest)...), unhex(f, envelope))
	}
	add(openT, opened, data3[2:])
	add(openSrv, "830100 38024100 39020578", linkGo[2:])
	add(receive, receivedAnswer("00", 237, 255), dataFF[2:])
	add(store, sentOK, "D70C82028281A40103A503001000")
	add(timer3, "830100A40103", "D10982028381 8B03010203")
	add(statuses, "830100 B8020000", "D60A99010382028281 9B0102")
	add(statuses, "830100 B8020000", "D509 7F003000 3003303030") // a tag that is longer than it need be
	f.Fuzz(func(t *testing.T, command, response, envelope []byte) {
		var j judge
		j.profileArrived(nil, unhex(t, everything), false)
		for e := range j.events {
			j.events[e] = true
		}
		j.fetched(nil, command, false)
		readable := j.command.readable
		details := j.command.details
		j.response(nil, response)
		j.answered(swOK)
		if len(j.list) == 0 && readable {
			r, devices, err := cat.ParseResponse(response)
			if err != nil {
				t.Fatalf("the judge lets %X pass, cat does not: %v", response, err)
			}
			got := [3]byte{r.Details.Number, byte(r.Details.Type), r.Details.Qualifier}
			if got != details || devices.Source != cat.DeviceTerminal || devices.Destination != cat.DeviceUICC {
				t.Fatalf("the judge lets %X pass, cat reads %v %v", response, r, devices)
			}
		}
		j.list = nil
		j.envelope(nil, envelope)
		if len(j.list) == 0 {
			e, err := cat.ParseEnvelope(envelope)
			if err != nil {
				t.Fatalf("the judge lets %X pass, cat does not: %v", envelope, err)
			}
			if again := e.Append(nil); !bytes.Equal(again, envelope) {
				t.Fatalf("envelope %X comes back as %X", envelope, again)
			}
			if _, err := readEvent(envelope); err != nil {
				t.Fatalf("the judge lets %X pass, the card does not: %v", envelope, err)
			}
		}
		for _, v := range j.list {
			if v.Clause == "" || v.Text == "" {
				t.Fatalf("violation without words: %+v", v)
			}
		}
	})
}
