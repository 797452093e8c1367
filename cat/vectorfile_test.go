package cat

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// vector is one line of cat.jsonl: the bytes of a conformance document with a decode by another program.
type vector struct {
	ID, Kind, Command string
	Hex               string
	Decoded           decoded
}

// decoded are the fields of a vector's decode that this package knows too.
type decoded struct {
	TLVs []struct {
		Tag string
		CR  bool
		Len int
	}
	Number         *byte  `json:"command_number"`
	Type           string `json:"command_type"`
	Qualifier      string
	Source         string
	Destination    string
	Result         string
	AdditionalInfo string  `json:"additional_info"`
	AlphaID        *string `json:"alpha_id"`
	Text           *string
	Texts          []string
	TextAttribute  string `json:"text_attribute"`
	Bearer         *struct {
		Type       byte
		Parameters string
	} `json:"bearer_description"`
	BufferSize *uint16                    `json:"buffer_size"`
	NAN        *struct{ Labels []string } `json:"network_access_name"`
	Transport  *struct {
		Type byte
		Port uint16
	}
	DestinationAddress *struct{ Type, Address string } `json:"destination_address"`
	ChannelStatus      []struct{ Raw string }          `json:"channel_status"`
	ChannelData        *string                         `json:"channel_data"`
	ChannelDataLength  *byte                           `json:"channel_data_length"`
	Duration           *struct {
		Unit     string
		Interval byte
	}
	FileList         string `json:"file_list"`
	Events           []string
	Language         string
	TimerID          byte   `json:"timer_id"`
	TimerValue       string `json:"timer_value"`
	LocationStatus   string `json:"location_status"`
	LocationInfo     string `json:"location_info"`
	IMEI             string
	IMEISV           string
	DateTime         string `json:"date_time_tz"`
	TimingAdvance    string `json:"timing_advance"`
	AccessTechnology string `json:"access_technology"`
	NMR              string
	BCCHList         string `json:"bcch_list"`
	ESN              string
	BatteryState     string `json:"battery_state"`
	TrackingArea     string `json:"tracking_area_id"`
	UpdateAttachType string `json:"update_attach_type"`
	RejectionCause   string `json:"rejection_cause"`
	EnvelopeTag      string `json:"envelope_tag"`
	Items            []struct {
		ID   byte
		Text string
	}
	ItemID             *byte                         `json:"item_id"`
	ItemsNextAction    string                        `json:"items_next_action"`
	ItemIcons          string                        `json:"item_icon_id_list"`
	ItemTextAttributes string                        `json:"item_text_attribute_list"`
	Icon               *struct{ Qualifier, ID byte } `json:"icon_id"`
	ImmediateResponse  *string                       `json:"immediate_response"`
	HelpRequest        *string                       `json:"help_request"`
	Address            *struct {
		TONNPI string `json:"ton_npi"`
		Number string
	}
	TPDU string `json:"sms_tpdu"`
}

// vectorPath finds a file of the vectors that lie beside the repository, or skips the test.
func vectorPath(t testing.TB, name string) string {
	t.Helper()
	path, there := findVectors(t, name)
	if !there {
		t.Skipf("the vectors are not beside this repository: no %s", path)
	}
	return path
}

func findVectors(t testing.TB, name string) (path string, there bool) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = parent
	}
	path = filepath.Join(dir, "..", "shared", "vectors", name)
	_, err = os.Stat(path)
	return path, !errors.Is(err, fs.ErrNotExist)
}

// loadVectors reads cat.jsonl.
func loadVectors(t testing.TB) []vector {
	t.Helper()
	f, err := os.Open(vectorPath(t, "cat.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var vs []vector
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("line %d: %v", len(vs)+1, err)
		}
		vs = append(vs, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return vs
}

func (v vector) bytes(t testing.TB) []byte { return unhex(t, v.Hex) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("hex %q: %v", s, err)
	}
	return b
}

func hexByte(t testing.TB, s string) byte {
	t.Helper()
	b := unhex(t, s)
	if len(b) != 1 {
		t.Fatalf("%q is not one octet", s)
	}
	return b[0]
}

// device turns a name of the vectors into an identity.
func device(t testing.TB, name string) DeviceID {
	t.Helper()
	devices := map[string]DeviceID{
		"keypad": DeviceKeypad, "display": DeviceDisplay, "earpiece": DeviceEarpiece, "uicc": DeviceUICC,
		"terminal": DeviceTerminal, "network": DeviceNetwork,
		"card_reader_0": 0x10, "card_reader_1": 0x11, "card_reader_2": 0x12, "card_reader_7": 0x17,
		"channel_1": DeviceChannel(1), "channel_2": DeviceChannel(2), "channel_3": DeviceChannel(3),
	}
	d, ok := devices[name]
	if !ok {
		t.Fatalf("device %q", name)
	}
	return d
}

// timerValue turns hh:mm:ss into a TimerValue.
func timerValue(t testing.TB, s string) TimerValue {
	t.Helper()
	at, err := time.Parse("15:04:05", s)
	if err != nil {
		t.Fatal(err)
	}
	h, m, sec := at.Clock()
	return TimerValue(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second)
}

// duration turns a decoded duration into the package's.
func (d decoded) duration(t testing.TB) Duration {
	t.Helper()
	units := map[string]byte{"minutes": 0, "seconds": 1, "tenths of seconds": 2}
	u, ok := units[d.Duration.Unit]
	if !ok {
		t.Fatalf("unit %q", d.Duration.Unit)
	}
	return Duration{u, d.Duration.Interval}
}

// withoutCR gives the bytes of a template, or of a terminal response, with b8 of every tag clear: which objects ask for
// comprehension differs between cards, terminals and documents.
func withoutCR(t testing.TB, b []byte) []byte {
	t.Helper()
	inner, template := b, len(b) > 0 && b[0] >= 0xD0 && b[0] <= 0xDF
	if template {
		var err error
		if _, inner, err = parseTemplate(b); err != nil {
			t.Fatal(err)
		}
	}
	tlvs, err := ParseTLVs(inner)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tlvs {
		tlvs[i].CR = false
	}
	if template {
		return appendTemplate(nil, b[0], AppendTLVs(nil, tlvs))
	}
	return AppendTLVs(nil, tlvs)
}
