package cat

import (
	"slices"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	const secret = "D0 36 81 03 01 40 01 82 02 81 82 35 07 02 03 04 03 04 1F 02 39 02 05 DC 47 04 03 6F 74 61 3E 00 0D 06 F4 73 65 63 72 74 0D 02 F4 73 3C 03 01 00 35 3E 05 21 C0 00 02 01"
	for _, tc := range []struct{ command, want string }{
		{goodOpen, `OPEN CHANNEL 01 (immediate link, automatic reconnection): alpha "", bearer default bearer, buffer 1400, TCP client port 443, to 192.0.2.1`},
		{secret, `OPEN CHANNEL 01 (immediate link): bearer packet 03040304` + `1F02, buffer 1500, network access name "ota", from any address, login (not shown), password (not shown), UDP client port 53, to 192.0.2.1`},
		{"D0 12 81 03 01 40 08 82 02 81 82 35 01 03 39 02 05 78", "OPEN CHANNEL 01 (on demand link, DNS server address request): bearer default bearer, buffer 1400"},
		{"D0 15 81 03 01 40 01 82 02 81 82 35 01 03 39 02 05 78 0C 02 F4 73", "OPEN CHANNEL 01 (immediate link): bearer default bearer, buffer 1400, 0C (2 octets, not shown)"},
		{goodSend, "SEND DATA 01 on channel 1 (send immediately): 3 octets"},
		{goodReceive, "RECEIVE DATA 01 on channel 1: 237 octets wanted"},
		{goodClose, "CLOSE CHANNEL 01 on channel 1"},
		{goodTimer, "TIMER MANAGEMENT 01 (start): timer 1, 0:01:00"},
		{goodEvents, "SET UP EVENT LIST 01: events [Location status, Data available, Channel status]"},
		{goodPoll, "POLL INTERVAL 01: 30s"},
		{"D0 09 81 03 02 01 04 82 02 81 82", "REFRESH 02 (UICC reset)"},
		{"D0 09 81 03 02 04 20 82 02 81 82", "POLLING OFF 02 (qualifier 20)"},
		{"D0 0E 81 03 01 21 01 82 02 81 02 8D 03 04 48 69", `DISPLAY TEXT 01 (high priority, cleared after a while): text "Hi"`},
		{"D0 0C 81 03 01 7E 00 82 02 81 82 04 01 07", "command type 7E 01: duration (04) 07"},
		{"D0 03 01 02 03", "unreadable command D000000000"},
		{"D0 0D 81 03 01 40 01 82 02 81 82 0D 06 F4", "OPEN CHANNEL 01 (immediate link): and more that cannot be read: D000000000000000000000000000"},
	} {
		b := octets(t, tc.command)
		if tc.want[:4] != "unre" && !strings.Contains(tc.want, "cannot be read") {
			b = appendTemplate(nil, b[0], b[2:])
		}
		if got := DescribeCommand(b); got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.command, got, tc.want)
		}
	}
	for _, tc := range []struct{ response, want string }{
		{"81 03 01 40 01 82 02 82 81 83 01 00 38 02 81 00 35 01 03 39 02 05 78 C0 05 21 7F 00 00 35",
			"00 performed successfully: channel 1: link established, bearer default bearer, buffer 1400, DNS server 127.0.0.53"},
		{"81 03 01 42 00 82 02 82 81 83 01 00 B6 02 01 02 B7 01 FF", "00 performed successfully: 2 octets, more than 255 octets left"},
		{"81 03 01 43 01 82 02 82 81 83 01 00 B7 01 FF", "00 performed successfully: more than 255 octets free"},
		{"81 03 01 43 01 82 02 82 81 83 02 3A 03", "3A BIP error: channel identifier not valid"},
		{"81 03 01 26 01 82 02 82 81 83 01 00 94 08 0A 10 32 54 76 98 10 32", "00 performed successfully: IMEI (14) 0A10325476981032"},
		{"83 01", "unreadable response 8301: object is longer than the data"},
	} {
		if got := DescribeResponse(octets(t, tc.response)); got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.response, got, tc.want)
		}
	}
}

// The bits of a profile come back, and each that is claimed somewhere here has a name.
func TestFacilities(t *testing.T) {
	all := []Facility{FacilityProfileDownload, FacilityMoreTime, FacilityDataAvailable, {13, 8}, FacilityTCPClient, FacilityDNSRequest}
	if got := Facilities(Profile(all...)); !slices.Equal(got, all) {
		t.Errorf("facilities %v, want %v", got, all)
	}
	for f := range facilityNames {
		if f.Name() == "" || !f.In(Profile(f)) || f.In(nil) {
			t.Errorf("facility %v: %q", f, f.Name())
		}
	}
	if n := (Facility{25, 1}).Name(); n != "" {
		t.Errorf("a bit that is not known has the name %q", n)
	}
	if !slices.IsSortedFunc(all, Facility.Compare) {
		t.Error("the order is not that of octets and bits")
	}
}

// Nothing of a login or a password is ever in what is said of an OPEN CHANNEL.
func FuzzDescribe(f *testing.F) {
	f.Add(octets(f, "35 01 03 39 02 05 78"), octets(f, "3C 03 02 01 BB"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		const login = "zqSECRETzq"
		objects := append(octets(t, "81 03 01 40 01 82 02 81 82"), before...)
		whole, err := ParseTLVs(objects)
		objects = AppendTLV(objects, TLV{TagTextString, true, append([]byte{0xF4}, login...)})
		objects = append(objects, after...)
		command := appendTemplate(nil, templateProactive, objects)
		if d, ok := Find(whole, TagCommandDetails); err == nil && ok && len(d.Value) == 3 { // else the text is no login but anything
			line := DescribeCommand(command)
			if strings.Contains(line, login) || strings.Contains(strings.ToUpper(line), "7A7153454352") {
				t.Fatalf("%X: %s", command, line)
			}
			if strings.ContainsAny(line, "\n\r") {
				t.Fatalf("%X: more than a line: %q", command, line)
			}
		}
		DescribeResponse(before)
		DescribeCommand(before)
	})
}
