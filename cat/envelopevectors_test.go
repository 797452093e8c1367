package cat

import (
	"bytes"
	"strings"
	"testing"
)

// ownEnvelopes are the envelopes that this package builds, with the number of their vectors.
var ownEnvelopes = map[string]int{
	"EVENT DOWNLOAD - DATA AVAILABLE": 2, "EVENT DOWNLOAD - CHANNEL STATUS": 2, "EVENT DOWNLOAD - LOCATION STATUS": 4,
	"TIMER EXPIRATION": 2, "MENU SELECTION": 8, "SMS-PP DOWNLOAD": 3,
}

// TestVectorsEnvelopes parses every envelope, and builds from their meaning those that this package has.
func TestVectorsEnvelopes(t *testing.T) {
	counts, total := map[string]int{}, 0
	for _, v := range loadVectors(t) {
		if v.Kind != "envelope" {
			continue
		}
		total++
		t.Run(v.ID, func(t *testing.T) {
			b, d := v.bytes(t), v.Decoded
			e, err := ParseEnvelope(b)
			if err != nil {
				t.Fatal(err)
			}
			if e.Tag != hexByte(t, d.EnvelopeTag) {
				t.Errorf("tag %02X, want %s", e.Tag, d.EnvelopeTag)
			}
			if again := e.Append(nil); !bytes.Equal(again, b) {
				t.Errorf("parsed and appended:\n got %X\nwant %X", again, b)
			}
			code, isEvent := e.Event()
			if isEvent != (len(d.Events) == 1) || isEvent && byte(code) != hexByte(t, d.Events[0]) {
				t.Errorf("event %v %v, want %v", code, isEvent, d.Events)
			}
			if ids, ok := Find(e.Objects, TagDeviceIdentities); !ok || ids.Value[0] != byte(device(t, d.Source)) || ids.Value[1] != byte(device(t, d.Destination)) {
				t.Errorf("device identities %X", ids.Value)
			}
			if _, ours := ownEnvelopes[v.Command]; !ours {
				return
			}
			if built := buildEnvelope(t, v.Command, d).Append(nil); !bytes.Equal(withoutCR(t, built), withoutCR(t, b)) {
				t.Errorf("built from its meaning:\n got %X\nwant %X", built, b)
			}
			counts[v.Command]++
		})
	}
	for command, want := range ownEnvelopes {
		if counts[command] != want {
			t.Errorf("%s: %d vectors, want %d", command, counts[command], want)
		}
	}
	if total != vectorCounts["envelope"] {
		t.Errorf("%d vectors, want %d", total, vectorCounts["envelope"])
	}
}

func buildEnvelope(t *testing.T, command string, d decoded) Envelope {
	t.Helper()
	switch command {
	case "EVENT DOWNLOAD - DATA AVAILABLE":
		return DataAvailableEvent(d.statuses(t)[0], int(*d.ChannelDataLength))
	case "EVENT DOWNLOAD - CHANNEL STATUS":
		return ChannelStatusEvent(d.statuses(t)[0])
	case "EVENT DOWNLOAD - LOCATION STATUS":
		return LocationStatusEvent(hexByte(t, d.LocationStatus), unhex(t, d.LocationInfo))
	case "MENU SELECTION":
		return MenuSelectionEnvelope(*d.ItemID, d.HelpRequest != nil)
	case "SMS-PP DOWNLOAD":
		return SMSPPDownloadEnvelope(d.address(t), unhex(t, d.TPDU))
	}
	return TimerExpirationEnvelope(d.TimerID, timerValue(t, d.TimerValue))
}

// TestVectorsTexts decodes the texts and alpha identifiers of all vectors that have one, in every coding.
func TestVectorsTexts(t *testing.T) {
	texts, alphas := 0, 0
	for _, v := range loadVectors(t) {
		d := v.Decoded
		if v.Kind == "envelope" || d.Text == nil && d.AlphaID == nil {
			continue
		}
		t.Run(v.ID, func(t *testing.T) {
			inner := v.bytes(t)
			if v.Kind == "proactive" {
				var err error
				if _, inner, err = parseTemplate(inner); err != nil {
					t.Fatal(err)
				}
			}
			tlvs, err := ParseTLVs(inner)
			if err != nil {
				t.Fatal(err)
			}
			if o, ok := Find(tlvs, TagTextString); ok && d.Text != nil {
				texts++
				if got := parseText(o.Value).Decode(); got != strings.TrimSuffix(*d.Text, "\r") {
					t.Errorf("text %q, want %q", got, *d.Text)
				}
			}
			if o, ok := Find(tlvs, TagAlphaIdentifier); ok && d.AlphaID != nil {
				alphas++
				a := Alpha{o.Value}
				if got := a.Decode(); got != *d.AlphaID {
					t.Errorf("alpha identifier %q, want %q", got, *d.AlphaID)
				}
			}
		})
	}
	if texts != 253 || alphas != 409 {
		t.Errorf("%d texts and %d alpha identifiers, want 253 and 409", texts, alphas)
	}
}
