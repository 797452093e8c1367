package conformance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bipd/cat"
	"bipd/softuicc"
)

// tsharkVersion is the release whose field names and faults are known here; later ones have reworked the decoder.
const tsharkVersion = "4.0"

// testTshark has every APDU of the cases before read by tshark: an independent decoder finds the same objects and values,
// and nothing malformed.
func testTshark(t *testing.T) {
	recordings.mu.Lock()
	list := recordings.list
	recordings.mu.Unlock()
	program, err := exec.LookPath("tshark")
	if err != nil {
		check(t, "tshark", "all APDUs", func(k *testCase) {
			if os.Getenv("REQUIRE_PROGRAMS") == "1" {
				k.Fatalf("tshark is not installed, and REQUIRE_PROGRAMS=1")
			}
			fmt.Fprintln(os.Stderr, "SKIPPED: tshark is not installed: the APDUs were read by no decoder but our own")
			k.Skipf("tshark is not installed (package tshark)")
		})
		return
	}
	if out, err := exec.Command(program, "--version").Output(); err != nil || !strings.Contains(string(out), " "+tsharkVersion+".") {
		version, _, _ := strings.Cut(string(out), "\n")
		check(t, "tshark", "all APDUs", func(k *testCase) {
			k.Skipf("the names and faults here are those of tshark %s; this is %q %v", tsharkVersion, version, err)
		})
		return
	}
	if len(list) == 0 {
		t.Skip("no case has run that sends APDUs")
	}
	decodes, err := dissect(t, program, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		check(t, "tshark", r.name, func(k *testCase) {
			seen := 0
			for _, e := range r.all() {
				if e.rapdu == nil { // the card was reset under it
					continue
				}
				seen++
				compare(k, e, decodes[e.key()])
			}
			k.note("%d APDUs", seen)
		})
	}
}

// dissect has tshark read each exchange once.
func dissect(t *testing.T, program string, list []*recording) (map[string]decode, error) {
	var unique []exchange
	at := map[string]int{}
	for _, r := range list {
		for _, e := range r.all() {
			if _, known := at[e.key()]; !known && e.rapdu != nil {
				at[e.key()] = len(unique)
				unique = append(unique, e)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "apdus.pcap")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(writePcap(f, unique), f.Close()); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(t.Context(), program, "-n", "-r", path, "-T", "pdml")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	decodes, err := readPDML(out)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return nil, err
	}
	if len(decodes) != len(unique) {
		return nil, fmt.Errorf("tshark read %d packets of %d", len(decodes), len(unique))
	}
	found := map[string]decode{}
	for key, i := range at {
		found[key] = decodes[i]
	}
	return found, nil
}

// compare holds one exchange against tshark's reading of it.
func compare(k *testCase, e exchange, d decode) {
	if e.capdu[0] == 0x80 && e.capdu[1] == insProfile {
		compareProfile(k, softuicc.Profile(e.capdu[5:]), d)
	}
	m, ok := messageOf(e)
	blind := blindSpot(e, m)
	if len(d.faults) > 0 && blind == "" {
		k.Errorf("%X %X: %q", e.capdu, e.rapdu, d.faults)
	}
	if !ok || blind != "" {
		return
	}
	compareObjectLists(k, e, m, d)
	ours, theirs := m.leaves(), d.theirs()
	for name, want := range ours {
		if got := theirs[name]; !slices.Equal(got, want) {
			k.Errorf("%X %X: %s: tshark reads %q, we read %q", e.capdu, e.rapdu, name, got, want)
		}
	}
}

func compareObjectLists(k *testCase, e exchange, m message, d decode) {
	tlvs, err := cat.ParseTLVs(m.content)
	if err != nil {
		k.Errorf("%X %X: we cannot read what tshark reads: %v", e.capdu, e.rapdu, err)
		return
	}
	sent := append(slices.Clone(e.capdu), e.rapdu...)
	var got, want []string
	for _, f := range d.tlvs {
		tag, err := sentTag(sent, f)
		if err != nil {
			k.Errorf("%X: %v", e.capdu, err)
			return
		}
		got = append(got, fmt.Sprintf("%02X:%s", tag, strings.ToUpper(f.Value)))
	}
	for _, t := range tlvs {
		tag := byte(t.Tag)
		if t.CR {
			tag |= 0x80
		}
		want = append(want, fmt.Sprintf("%02X:%X", tag, t.Value))
	}
	if !slices.Equal(got, want) {
		k.Errorf("%X %X: tshark reads %v, we read %v", e.capdu, e.rapdu, got, want)
	}
}

// blindSpots are what tshark 4.0 is known to read wrongly, with the reason.
var blindSpots = []struct {
	reason string
	is     func(e exchange, m message) bool
}{
	{"FETCH that brought no command: P3 octets are taken as data", func(e exchange, _ message) bool {
		return e.capdu[1] == insFetch && len(e.rapdu) == 2
	}},
	{"response with a result that needs additional information and has none: the next tag is taken for it", func(_ exchange, m message) bool {
		o, ok := m.find(0x03)
		return m.ins == insResponse && ok && len(o) == 1 && cat.GeneralResult(o[0]).NeedsInfo()
	}},
	{"bearer description 09: an expert error every time", func(_ exchange, m message) bool {
		o, ok := m.find(0x35)
		return ok && len(o) > 0 && o[0] == 0x09
	}},
	{"bearer description 02 or 0B with few parameters: read on into the next object", func(_ exchange, m message) bool {
		o, ok := m.find(0x35)
		return ok && len(o) > 0 && (o[0] == 0x02 && len(o) < 7 || o[0] == 0x0B && len(o) < 3)
	}},
	{"envelope with a template other than D1, D6 and D7: not opened", func(_ exchange, m message) bool {
		return m.ins == insEnvelope && len(m.whole) > 0 && m.whole[0] != 0xD1 && m.whole[0] != 0xD6 && m.whole[0] != 0xD7
	}},
	{"Other address of no octets: read on into the next object", func(_ exchange, m message) bool {
		o, ok := m.find(0x3E)
		return ok && len(o) == 0
	}},
}

// find is the value of the first object with the tag.
func (m message) find(tag byte) ([]byte, bool) {
	list, _ := walk(m.content)
	for _, o := range list {
		if o.tag == tag {
			return o.value, true
		}
	}
	return nil, false
}

func blindSpot(e exchange, m message) string {
	for _, b := range blindSpots {
		if b.is(e, m) {
			return b.reason
		}
	}
	return ""
}

// profileNames are tshark's names for the bits that handlers here may claim.
var profileNames = map[cat.Facility]string{
	cat.FacilityProfileDownload: "prof_dld", cat.FacilityTimerExpiration: "timer_exp", cat.FacilityCommandResult: "cmd_res",
	cat.FacilityMoreTime: "pa.more_time", cat.FacilityPollInterval: "pa.poll_intv", cat.FacilityPollingOff: "pa.polling_off",
	cat.FacilityRefresh: "pa.refresh", cat.FacilityLocalInformation: "pa.prov_loci", cat.FacilitySetUpEventList: "pa.set_up_evt_list",
	cat.FacilityLocationStatus: "evt.loc_status", cat.FacilityDataAvailable: "evt.data_avail", cat.FacilityChannelStatus: "evt.chan_status",
	cat.FacilityTimerStart: "pa.timer_start_stop", cat.FacilityTimerGetValue: "pa.timer_get_current", cat.FacilityDateTime: "pa.prov_loci_date",
	cat.FacilityLanguage: "pa.prov_loci_lang", cat.FacilityLanguageNotification: "pa.lang_notif", cat.FacilityOpenChannel: "pa.open_chan",
	cat.FacilityCloseChannel: "pa.close_chan", cat.FacilityReceiveData: "pa.recv_data", cat.FacilitySendData: "pa.send_data",
	cat.FacilityGetChannelStatus: "pa.get_chan_status", cat.FacilityGPRS: "bip.gprs", cat.FacilityNoDisplay: "nd", cat.FacilityNoKeypad: "nk",
	cat.FacilityTCPClient: "bip.tcp_remote", cat.FacilityUDPClient: "bip.udp_remote", cat.FacilityEUTRAN: "bip.eutran",
	cat.FacilityHSDPA: "bip.hsdpa", cat.FacilityUTRANExtended: "utran_ps_ext_params", cat.FacilityWLANBearer: "bip.iwlan",
	cat.FacilityDNSRequest: "support_dns_addr_req",
	{Octet: 1, Bit: 2}:     "sms_data_dld", {Octet: 1, Bit: 4}: "menu_sel", {Octet: 1, Bit: 5}: "sms_data_dld_support",
	{Octet: 3, Bit: 1}: "pa.display_text", {Octet: 4, Bit: 2}: "pa.send_sms", {Octet: 4, Bit: 1}: "pa.select_item", {Octet: 4, Bit: 6}: "pa.set_up_menu",
	{Octet: 8, Bit: 5}: "pa.set_up_idle_text", {Octet: 17, Bit: 3}: "bip.tcp_server", {Octet: 17, Bit: 4}: "bip.tcp_local",
	{Octet: 17, Bit: 5}: "bip.udp_local", {Octet: 33, Bit: 2}: "nw_access_name_reuse", {Octet: 18, Bit: 7}: "pa.prov_loci_imeisv",
	{Octet: 9, Bit: 8}: "pa.prov_loci_access_techno",
}

// knownOctets are those of the TERMINAL PROFILE that tshark reads bit by bit.
const knownOctets = 33

// compareProfile holds each bit that is set against tshark's name for it, and the number of channels.
func compareProfile(k *testCase, p softuicc.Profile, d decode) {
	read := map[cat.Facility]string{}
	for _, f := range d.profile {
		octet, bits := f.Pos-headers-5+1, f.bits()
		name := strings.TrimPrefix(f.Name, "gsm_sim.tp.")
		if name == "num_chans" && f.number() != p.Channels() {
			k.Errorf("tshark reads %d channels, we say %d", f.number(), p.Channels())
		}
		if len(bits) == 1 && f.number() == 1 {
			read[cat.Facility{Octet: octet, Bit: bits[0]}] = name
		}
	}
	for octet := 1; octet <= min(len(p), knownOctets); octet++ {
		for bit := 1; bit <= 8; bit++ {
			f := cat.Facility{Octet: octet, Bit: bit}
			if !p.Has(octet, bit) || octet == 13 && bit >= 6 { // the number of channels
				continue
			}
			if want := profileNames[f]; want == "" || read[f] != want {
				k.Errorf("TERMINAL PROFILE octet %d bit %d: tshark reads %q, we mean %q", octet, bit, read[f], want)
			}
		}
	}
	if len(read) == 0 {
		k.Errorf("tshark reads no bit of the TERMINAL PROFILE")
	}
}
