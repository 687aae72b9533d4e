// sources: hypervisor/virt/decode.c hypervisor/virt/decode_op.c hypervisor/virt/decode_operand.c
// sources: hypervisor/virt/insn_cache.c hypervisor/virt/walk.c
// needs: zydis
// Instruction lengths and operands, and the cache that must never give a stale one.
#include <stdlib.h>

#include <Zydis/Decoder.h>

#include "check.h"
#include "pages.h"
#include "virt/decode.h"
#include "cpu/err.h"
#include "cpu/memory.h"

// --- A machine of one vCPU and 1 MiB of RAM ---

#define RAM_SIZE 0x100000u
static _Alignas(4096) uint8_t ram[RAM_SIZE];
static struct guest guest;
static struct vcpu vcpu = {.guest = &guest};
static struct {
    uint64_t cr0, cr3, cr4, efer, rflags, cs_base;
    uint32_t cs_attributes, ss_attributes;
} m;

struct virt_caps virt_caps = {.phys_bits = 40};

static uint64_t reg_get(struct vcpu *v, enum vreg reg) {
    (void)v;
    switch (reg) {
    case REG_CR0:
        return m.cr0;
    case REG_CR3:
        return m.cr3;
    case REG_CR4:
        return m.cr4;
    case REG_EFER:
        return m.efer;
    case REG_RFLAGS:
        return m.rflags;
    default:
        abort();
    }
}

static void seg_get(struct vcpu *v, enum vseg seg, struct segment *s) {
    (void)v;
    *s = (struct segment){.base = seg == SEG_CS ? m.cs_base : 0,
        .attributes = seg == SEG_CS ? m.cs_attributes : m.ss_attributes};
}

static struct fetch_state fetch_state(struct vcpu *v) {
    return fetch_state_of(v->rip, m.cs_base, m.cs_attributes, m.cr0, m.cr3, m.cr4, m.efer);
}

static const struct vcpu_ops ops = {.reg_get = reg_get, .seg_get = seg_get, .fetch_state = fetch_state};
const struct vcpu_ops *virt = &ops;

const void *guest_read_ptr(struct guest *g, uint64_t gpa, size_t *available) {
    (void)g;
    *available = gpa < RAM_SIZE ? RAM_SIZE - gpa : 0;
    return gpa < RAM_SIZE ? ram + gpa : NULL;
}

void *guest_write_ptr(struct guest *g, uint64_t gpa, size_t *available) {
    (void)g;
    *available = gpa < RAM_SIZE ? RAM_SIZE - gpa : 0;
    return gpa < RAM_SIZE ? ram + gpa : NULL;
}

// --- Modes and page tables ---

#define PTE_PWU UINT64_C(7)
#define PTE_PS UINT64_C(0x80)
#define ROOT_A UINT64_C(0x1000)
#define ROOT_B UINT64_C(0x2000)
static uint64_t next_table;

static void put64(uint64_t gpa, uint64_t value) {
    memcpy(ram + gpa, &value, 8);
}

static uint64_t get64(uint64_t gpa) {
    uint64_t value;
    memcpy(&value, ram + gpa, 8);
    return value;
}

static void mode_64(void) {
    m.cr0 = 0x80010001;
    m.cr3 = ROOT_A;
    m.cr4 = 0x20;
    m.efer = 0xD00;
    m.rflags = 2;
    m.cs_base = 0;
    m.cs_attributes = 0x9B | SEG_ATTR_L | SEG_ATTR_G;
    m.ss_attributes = 0x93;
}

static void mode_flat(uint32_t db) {
    m.cr0 = 1;
    m.cr3 = m.cr4 = m.efer = 0;
    m.rflags = 2;
    m.cs_base = 0;
    m.cs_attributes = 0x9B | db;
    m.ss_attributes = 0x93;
}

static void drop_cache(void) {
    insn_cache_free(vcpu.insns);
    vcpu.insns = NULL;
}

static void reset(void) {
    static bool once;
    if (!once) {
        atexit(drop_cache);
        once = true;
    }
    memset(ram, 0, sizeof(ram));
    next_table = 0x10000;
    guest.nested_generation = 1;
    insn_cache_free(vcpu.insns);
    vcpu.insns = insn_cache_create();
    mode_64();
}

static uint64_t pte_at(uint64_t root, uint64_t gva) {
    uint64_t table = root;
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t at = table + (gva >> shift & 511) * 8;
        if (!(get64(at) & 1)) {
            put64(at, next_table | PTE_PWU);
            next_table += 0x1000;
        }
        table = get64(at) & UINT64_C(0xFFFFFFFFFF000);
    }
    return table + (gva >> 12 & 511) * 8;
}

static void map(uint64_t root, uint64_t gva, uint64_t gpa) {
    put64(pte_at(root, gva), gpa | PTE_PWU);
}

static int length_at(uint64_t rip) {
    const struct insn *insn;
    struct walk_fault fault;
    vcpu.rip = rip;
    int result = vcpu_insn(&vcpu, &insn, &fault);
    return result ? result : insn->length;
}

// --- Lengths and operands ---

struct form {
    const char *name;
    enum insn_mode mode;
    uint8_t bytes[16];
    uint8_t length;
};

CASE(lengths_of_prefixed_forms) {
    static const struct form forms[] = {
        {"cpuid", INSN_LONG_64, {0x0F, 0xA2}, 2},
        {"66 cpuid", INSN_LONG_64, {0x66, 0x0F, 0xA2}, 3},
        {"rep cpuid", INSN_LONG_64, {0xF3, 0x0F, 0xA2}, 3},
        {"rex.w cpuid", INSN_LONG_64, {0x48, 0x0F, 0xA2}, 3},
        {"66 f3 rex cpuid", INSN_LONG_64, {0x66, 0xF3, 0x41, 0x0F, 0xA2}, 5},
        {"rex is dec in 32-bit code", INSN_LEGACY_32, {0x48, 0x0F, 0xA2}, 1},
        {"rex is dec in 32-bit compatibility code", INSN_COMPAT_32, {0x48, 0x0F, 0xA2}, 1},
        {"66 cpuid, 16-bit", INSN_LEGACY_16, {0x66, 0x0F, 0xA2}, 3},
        {"hlt", INSN_LONG_64, {0xF4}, 1},
        {"rep hlt", INSN_LONG_64, {0xF3, 0xF4}, 2},
        {"66 hlt, 16-bit", INSN_LEGACY_16, {0x66, 0xF4}, 2},
        {"rdmsr", INSN_LONG_64, {0x0F, 0x32}, 2},
        {"rex rdmsr", INSN_LONG_64, {0x4F, 0x0F, 0x32}, 3},
        {"f2 66 wrmsr", INSN_LONG_64, {0xF2, 0x66, 0x0F, 0x30}, 4},
        {"vmmcall", INSN_LONG_64, {0x0F, 0x01, 0xD9}, 3},
        {"66 vmmcall", INSN_LONG_64, {0x66, 0x0F, 0x01, 0xD9}, 4},
        {"rep rex vmmcall", INSN_LONG_64, {0xF3, 0x48, 0x0F, 0x01, 0xD9}, 5},
        {"cs rep vmmcall, 32-bit", INSN_LEGACY_32, {0x2E, 0xF3, 0x0F, 0x01, 0xD9}, 5},
        {"vmcall", INSN_LONG_64, {0x0F, 0x01, 0xC1}, 3},
        {"66 vmcall", INSN_LONG_64, {0x66, 0x0F, 0x01, 0xC1}, 4},
        {"rep fs xsetbv", INSN_LONG_64, {0xF3, 0x64, 0x0F, 0x01, 0xD1}, 5},
        {"66 monitor", INSN_LONG_64, {0x66, 0x0F, 0x01, 0xC8}, 4},
        {"wbinvd", INSN_LONG_64, {0x0F, 0x09}, 2},
        {"mov r/m with 16-bit address", INSN_LEGACY_16, {0xC7, 0x86, 0x34, 0x12, 0x78, 0x56}, 6},
        {"the same in 32-bit code", INSN_LEGACY_32, {0xC7, 0x86, 0x34, 0x12, 0x78, 0x56, 1, 2, 3, 4}, 10},
        {"15 bytes", INSN_LONG_64, {0x2E, 0x2E, 0x2E, 0x48, 0xC7, 0x84, 0x05, 1, 2, 3, 4, 5, 6, 7, 8}, 15},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        struct insn insn = {0};
        int result = insn_decode(forms[i].mode, forms[i].bytes, 15, &insn);
        check(!result && insn.length == forms[i].length, forms[i].name, "result %d length %d, want %d", result,
            insn.length, forms[i].length);
    }
    struct insn insn;
    static const uint8_t swapgs[] = {0x0F, 0x01, 0xF8}, sixteen[] = {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
        0x66, 0x66, 0x66, 0x66, 0x66, 0x0F, 0xA2};
    check(insn_decode(INSN_LEGACY_32, swapgs, 3, &insn) == -EINVAL, "swapgs is none in 32-bit code", "-");
    check(insn_decode(INSN_LONG_64, sixteen, 15, &insn) == 0 && insn.length == 15, "15 bytes of prefixed cpuid", "%d",
        insn.length);
    check(insn_decode(INSN_LONG_64, sixteen, 14, &insn) == -ERANGE, "too few bytes are told", "-");
    static const uint8_t over[] = {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
        0x66, 0x66, 0x66};
    int result = insn_decode(INSN_LONG_64, over, 15, &insn);
    check(result == -EINVAL || result == -ERANGE, "prefixes only are no instruction", "%d", result);
}

// `what` lists every field that counts, in a fixed order, so one string compare tells all.
static void operand(const char *name, enum insn_mode mode, const char *hex, const char *what) {
    uint8_t bytes[16] = {0};
    size_t size = 0;
    unsigned byte;
    int used;
    while (sscanf(hex, " %2x%n", &byte, &used) == 1) {
        bytes[size++] = (uint8_t)byte;
        hex += used;
    }
    struct insn i;
    int result = insn_decode(mode, bytes, size, &i);
    static const char *const classes[] = {"other", "load", "store", "cr", "dr", "lmsw", "clts", "smsw", "string",
        "modify"};
    static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    char text[200];
    int n = snprintf(text, sizeof(text), "%s m%d r%d.%d%s%s%s%s%s a%d %s", classes[i.class], i.size, i.reg, i.reg_size,
        i.high_byte ? "h" : "", i.sign_extend ? " sx" : "", i.zero_extend ? " zx" : "", i.read ? " read" : "",
        i.write ? " write" : "", i.address_size, segments[i.segment]);
    if (i.base != INSN_NO_REG || i.index != INSN_NO_REG || i.displacement) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, " [%d+%d*%d%+" PRId64 "]", i.base, i.index, i.scale,
            i.displacement);
    }
    if (i.has_immediate) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, " #%" PRIx64, i.immediate);
    }
    if (i.special || i.class == INSN_MOV_CR || i.class == INSN_MOV_DR) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, " special %d", i.special);
    }
    if (i.rep) {
        snprintf(text + n, sizeof(text) - (size_t)n, " rep");
    }
    check(!result && i.length == size && !strcmp(text, what), name, "result %d length %d of %zu, got '%s', want '%s'",
        result, i.length, size, text, what);
}

static void operation(const char *name, enum insn_mode mode, const char *hex, enum insn_op op, uint8_t size,
    uint8_t memory_at) {
    uint8_t bytes[16] = {0};
    size_t count = 0;
    unsigned byte;
    int used;
    while (sscanf(hex, " %2x%n", &byte, &used) == 1) {
        bytes[count++] = (uint8_t)byte;
        hex += used;
    }
    struct insn i;
    int result = insn_decode(mode, bytes, count, &i);
    check(!result && i.op == op && i.size == size && i.memory_at == memory_at, name,
        "result %d, operation %d, want %d, size %d, memory at %d", result, i.op, op, i.size, i.memory_at);
}

CASE(operations) {
    enum insn_mode l = INSN_LONG_64;
    operation("mov [rdi],eax", l, "89 07", OP_MOV, 4, 0);
    operation("add [rdi],eax", l, "01 07", OP_ADD, 4, 0);
    operation("add eax,[rdi]", l, "03 07", OP_ADD, 4, 1);
    operation("cmp rax,[rdi]", l, "48 3B 07", OP_CMP, 8, 1);
    operation("lock xadd [rdi],ax", l, "F0 66 0F C1 07", OP_XADD, 2, 0);
    operation("xchg al,[rdi]", l, "86 07", OP_XCHG, 1, 0);
    operation("cmpxchg16b", l, "48 0F C7 0F", OP_CMPXCHG_PAIR, 16, 0);
    operation("bts [rdi],rax", l, "48 0F AB 07", OP_BTS, 8, 0);
    operation("imul eax,[rdi],5", l, "6B 07 05", OP_IMUL, 4, 1);
    operation("imul dword [rdi]", l, "F7 2F", OP_IMUL_WIDE, 4, 0);
    operation("call [rdi]", l, "FF 17", OP_CALL, 8, 0);
    operation("far call [rdi]", l, "FF 1F", OP_NONE, 6, 0);
    operation("jmp [rdi]", l, "FF 27", OP_JMP, 8, 0);
    operation("push [rdi]", l, "FF 37", OP_PUSH, 8, 0);
    operation("push rax, whose stack is no operand", l, "50", OP_PUSH, 8, INSN_STACK_ONLY);
    operation("push ax", l, "66 50", OP_PUSH, 2, INSN_STACK_ONLY);
    operation("push -7", l, "6A F9", OP_PUSH, 8, INSN_STACK_ONLY);
    operation("push fs", l, "0F A0", OP_NONE, 8, INSN_STACK_ONLY);
    operation("pop rsp", l, "5C", OP_POP, 8, INSN_STACK_ONLY);
    operation("call relative", l, "E8 00 00 00 00", OP_CALL, 8, INSN_STACK_ONLY);
    operation("call rax", l, "FF D0", OP_CALL, 8, INSN_STACK_ONLY);
    operation("ret", l, "C3", OP_RET, 8, INSN_STACK_ONLY);
    operation("ret 8", l, "C2 08 00", OP_RET, 8, INSN_STACK_ONLY);
    operation("far ret", l, "CB", OP_NONE, 4, INSN_STACK_ONLY);
    operation("leave", l, "C9", OP_LEAVE, 8, INSN_STACK_ONLY);
    operation("enter 32,0", l, "C8 20 00 00", OP_ENTER, 8, INSN_STACK_ONLY);
    operation("enter 32,1", l, "C8 20 00 01", OP_NONE, 8, INSN_STACK_ONLY);
    operation("push eax in 32-bit code", INSN_LEGACY_32, "50", OP_PUSH, 4, INSN_STACK_ONLY);
    operation("far jmp [rdi]", l, "FF 2F", OP_JMP_FAR, 6, 0);
    operation("far jmp with REX.W", l, "48 FF 2F", OP_JMP_FAR, 10, 0);
    operation("idiv dword [rdi]", l, "F7 3F", OP_IDIV, 4, 0);
    operation("ltr [rdi]", l, "0F 00 1F", OP_LOAD_SEGMENT, 2, 0);
    operation("str [rdi]", l, "0F 00 0F", OP_MOV_SEGMENT, 2, 0);
    operation("pop [rdi]", l, "8F 07", OP_POP, 8, 0);
    operation("mov [rdi],ds", l, "8C 1F", OP_MOV_SEGMENT, 2, 0);
    operation("mov ds,[rdi]", l, "8E 1F", OP_LOAD_SEGMENT, 2, 1);
    operation("setz [rdi]", l, "0F 94 07", OP_SETCC, 1, 0);
    operation("cmovg eax,[rdi]", l, "0F 4F 07", OP_CMOVCC, 4, 1);
    operation("movsd", l, "A5", OP_MOVS, 4, 0);
    operation("movsd xmm0,[rdi]", l, "F2 0F 10 07", OP_VECTOR, 8, 1);
    operation("movaps [rdi],xmm9", l, "44 0F 29 0F", OP_VECTOR, 16, 0);
    operation("movhps xmm0,[rdi]", l, "0F 16 07", OP_VECTOR_HIGH, 8, 1);
    operation("movq mm0,[rdi]", l, "0F 6F 07", OP_MMX, 8, 1);
    operation("vmovups xmm0,[rdi]", l, "C5 F8 10 07", OP_NONE, 16, 1);
    operation("cmpsd xmm0,[rdi],1", l, "F2 0F C2 07 01", OP_NONE, 8, 1);
    operation("rep stosw, 16-bit addresses", INSN_LEGACY_16, "F3 AB", OP_STOS, 2, 0);
    operation("fld qword [rdi]", l, "DD 07", OP_NONE, 8, 0);
    operation("clflush [rdi]", l, "0F AE 3F", OP_TOUCH, 64, 0);

    struct insn insn;
    static const uint8_t scas[] = {0xF2, 0xAE}, movs[] = {0xF3, 0x64, 0xA4};
    insn_decode(l, scas, sizeof(scas), &insn);
    check(insn.op == OP_SCAS && insn.rep && insn.repne, "repne scasb", "-");
    insn_decode(l, movs, sizeof(movs), &insn);
    check(insn.op == OP_MOVS && insn.rep && !insn.repne && insn.segment == SEG_FS, "rep movsb from fs", "-");
}

CASE(operands) {
    enum insn_mode l = INSN_LONG_64;
    operand("mov [rdi],eax", l, "89 07", "store m4 r0.4 write a8 ds [7+255*0+0]");
    operand("mov [r9+r12*4+8],r10", l, "4F 89 54 A1 08", "store m8 r10.8 write a8 ds [9+12*4+8]");
    operand("mov [rdi],ax", l, "66 89 07", "store m2 r0.2 write a8 ds [7+255*0+0]");
    operand("mov [rdi],bh", l, "88 3F", "store m1 r3.1h write a8 ds [7+255*0+0]");
    operand("mov [rdi],dil", l, "40 88 3F", "store m1 r7.1 write a8 ds [7+255*0+0]");
    operand("mov eax,[rip+16]", l, "8B 05 10 00 00 00", "load m4 r0.4 read a8 ds [16+255*0+16]");
    operand("mov r15,[rsp-8]", l, "4C 8B 7C 24 F8", "load m8 r15.8 read a8 ss [4+255*0-8]");
    operand("mov r8b,[rax]", l, "44 8A 00", "load m1 r8.1 read a8 ds [0+255*0+0]");
    operand("mov ch,[rax]", l, "8A 28", "load m1 r1.1h read a8 ds [0+255*0+0]");
    operand("mov eax,gs:[ebx]", l, "65 67 8B 03", "load m4 r0.4 read a4 gs [3+255*0+0]");
    operand("mov qword [rax],-2", l, "48 C7 00 FE FF FF FF",
        "store m8 r0.0 write a8 ds [0+255*0+0] #fffffffffffffffe");
    operand("mov dword [rax],0x80000000", l, "C7 00 00 00 00 80",
        "store m4 r0.0 write a8 ds [0+255*0+0] #ffffffff80000000");
    operand("mov byte [rax],0xff", l, "C6 00 FF", "store m1 r0.0 write a8 ds [0+255*0+0] #ffffffffffffffff");
    operand("mov eax,moffs64", l, "A1 30 00 E0 FE 00 00 00 00", "load m4 r0.4 read a8 ds [255+255*0+4276092976]");
    operand("mov moffs32,al", INSN_LEGACY_32, "A2 30 00 E0 FE", "store m1 r0.1 write a4 ds [255+255*0-18874320]");
    operand("movzx eax,byte [rsi]", l, "0F B6 06", "load m1 r0.4 zx read a8 ds [6+255*0+0]");
    operand("movzx r9,word [rsi]", l, "4C 0F B7 0E", "load m2 r9.8 zx read a8 ds [6+255*0+0]");
    operand("movsx rcx,byte [rsi]", l, "48 0F BE 0E", "load m1 r1.8 sx read a8 ds [6+255*0+0]");
    operand("movsx cx,byte [rsi]", l, "66 0F BE 0E", "load m1 r1.2 sx read a8 ds [6+255*0+0]");
    operand("movsxd rcx,dword [rsi]", l, "48 63 0E", "load m4 r1.8 sx read a8 ds [6+255*0+0]");
    operand("movnti [rsi],ecx", l, "0F C3 0E", "store m4 r1.4 write a8 ds [6+255*0+0]");
    operand("mov [bx+si],ax", INSN_LEGACY_16, "89 00", "store m2 r0.2 write a2 ds [3+6*1+0]");
    operand("mov eax,[bp+2]", INSN_LEGACY_16, "66 8B 46 02", "load m4 r0.4 read a2 ss [5+255*0+2]");
    operand("mov es:[di],eax, compat", INSN_COMPAT_32, "26 67 89 05", "store m4 r0.4 write a2 es [7+255*0+0]");
    operand("mov cr0,rax", l, "0F 22 C0", "cr m0 r0.8 write a8 ds special 0");
    operand("mov r11,cr8", l, "45 0F 20 C3", "cr m0 r11.8 a8 ds special 8");
    operand("mov cr3,ebx, 32-bit", INSN_LEGACY_32, "0F 22 DB", "cr m0 r3.4 write a4 ds special 3");
    operand("mov dr7,r9", l, "41 0F 23 F9", "dr m0 r9.8 write a8 ds special 7");
    operand("mov rcx,dr6", l, "0F 21 F1", "dr m0 r1.8 a8 ds special 6");
    operand("lmsw ax", l, "0F 01 F0", "lmsw m0 r0.2 a8 ds");
    operand("lmsw [rbx]", l, "0F 01 33", "lmsw m2 r0.0 read a8 ds [3+255*0+0]");
    operand("clts", l, "0F 06", "clts m0 r0.0 a8 ds");
    operand("smsw edx", l, "0F 01 E2", "smsw m0 r2.4 a8 ds");
    operand("smsw [rbx]", l, "0F 01 23", "smsw m2 r0.0 write a8 ds [3+255*0+0]");
    operand("rep insb", l, "F3 6C", "string m1 r0.0 write a8 es [7+255*0+0] rep");
    operand("insd, 32-bit address", l, "67 6D", "string m4 r0.0 write a4 es [7+255*0+0]");
    operand("repne outsw from fs", l, "F2 66 64 6F", "string m2 r0.0 read a8 fs [6+255*0+0] rep");
    operand("outsb, 16-bit", INSN_LEGACY_16, "6E", "string m1 r0.0 read a2 ds [6+255*0+0]");
    operand("add [rdi],eax", l, "01 07", "modify m4 r0.4 read write a8 ds [7+255*0+0]");
    operand("lock or dword [rdi],2", l, "F0 83 0F 02", "modify m4 r0.0 read write a8 ds [7+255*0+0] #2");
    operand("cmp [rdi],cx", l, "66 39 0F", "modify m2 r1.2 read a8 ds [7+255*0+0]");
    operand("mov [rdi],ds", l, "8C 1F", "modify m2 r0.0 write a8 ds [7+255*0+0]");
    operand("lea rax,[rdi]", l, "48 8D 07", "other m0 r0.8 a8 ds");
    operand("nop [rax]", l, "0F 1F 00", "other m4 r0.4 read a8 ds [0+255*0+0]");
    operand("mov eax,ebx", l, "89 D8", "other m0 r0.4 a8 ds");

    struct insn insn;
    static const uint8_t indexed[] = {0x67, 0x8B, 0x44, 0x8B, 0xFC}; // mov eax,[ebx+ecx*4-4]
    insn_decode(l, indexed, sizeof(indexed), &insn);
    vcpu.gpr[GPR_RBX] = 0xFFFFFFFF00001000;
    vcpu.gpr[GPR_RCX] = 0x40000000;
    check(insn_offset(&vcpu, &insn) == 0xFFC, "the offset wraps at the address size", "%#" PRIx64,
        insn_offset(&vcpu, &insn));
    static const uint8_t relative[] = {0x8B, 0x05, 0xF0, 0xFF, 0xFF, 0xFF}; // mov eax,[rip-16]
    insn_decode(l, relative, sizeof(relative), &insn);
    vcpu.rip = 0x1000;
    check(insn_offset(&vcpu, &insn) == 0xFF6, "rip-relative counts from the next instruction", "%#" PRIx64,
        insn_offset(&vcpu, &insn));
}

// --- The cache ---

static const uint8_t cpuid_code[] = {0x0F, 0xA2}, rex_cpuid_code[] = {0x48, 0x0F, 0xA2}, hlt_code[] = {0xF4};
#define CODE UINT64_C(0xFFFFFFFF81000100) // a kernel's address
#define EDGE UINT64_C(0xFFFFFFFF81000FFE) // two bytes before the page's end

static void put_code(uint64_t gpa, const uint8_t *code, size_t size) {
    memcpy(ram + gpa, code, size);
}

static void expect(const char *name, uint64_t rip, int length, uint64_t hits, uint64_t misses, uint64_t stale) {
    struct insn_stats before = vcpu_insn_stats(&vcpu);
    int got = length_at(rip);
    struct insn_stats now = vcpu_insn_stats(&vcpu);
    check(got == length && now.hits - before.hits == hits && now.misses - before.misses == misses
        && now.stale - before.stale == stale, name,
        "length %d (want %d), hits %" PRIu64 ", misses %" PRIu64 ", stale %" PRIu64, got, length,
        now.hits - before.hits, now.misses - before.misses, now.stale - before.stale);
}

static void expect_fast(const char *name, uint64_t rip, uint32_t length) {
    vcpu.rip = rip;
    uint32_t got = vcpu_insn_length_fast(&vcpu);
    check(got == length, name, "length %u, want %u", got, length);
}

CASE(cache_sees_every_change) {
    reset();
    map(ROOT_A, CODE, 0x80000);
    map(ROOT_A, CODE + 0x1000, 0x81000);
    put_code(0x80100, cpuid_code, 2);
    expect_fast("cold: the fast path misses", CODE, 0);
    expect("cold: miss", CODE, 2, 0, 1, 0);
    expect("warm: hit", CODE, 2, 1, 0, 0);
    expect_fast("warm: the fast path hits", CODE, 2);
    ram[0x80102] = 0xCC;
    expect_fast("the byte after the instruction does not count", CODE, 2);

    put_code(0x80100, rex_cpuid_code, 3);
    expect_fast("code changed: the fast path sees it", CODE, 0);
    expect("code changed: stale", CODE, 3, 0, 1, 1);
    expect("code changed: hit again", CODE, 3, 1, 0, 0);

    put_code(0x90100, hlt_code, 1);
    map(ROOT_A, CODE, 0x90000);
    expect_fast("page remapped: the fast path sees it", CODE, 0);
    expect("page remapped: stale", CODE, 1, 0, 1, 1);

    // Each level in turn leads to a copy of the table below, except for the code.
    uint64_t table = ROOT_A;
    for (int level = 4; level > 1; level--) {
        char name[64];
        expect("before the change of a table", CODE, length_at(CODE), 1, 0, 0);
        uint64_t at = table + (CODE >> (3 + 9 * level) & 511) * 8;
        table = get64(at) & UINT64_C(0xFFFFFFFFFF000);
        memcpy(ram + next_table, ram + table, 4096);
        table = next_table;
        next_table += 0x1000;
        put64(at, table | PTE_PWU);
        snprintf(name, sizeof(name), "level %d entry changed: the fast path sees it", level);
        expect_fast(name, CODE, 0);
        snprintf(name, sizeof(name), "level %d entry changed: stale", level);
        expect(name, CODE, 1, 0, 1, 1);
    }

    // The same address means something else under another CR3.
    m.cr3 = ROOT_B;
    map(ROOT_B, CODE, 0x82000);
    put_code(0x82100, cpuid_code, 2);
    expect_fast("another CR3: the fast path misses", CODE, 0);
    expect("another CR3: miss", CODE, 2, 0, 1, 0);
    m.cr3 = ROOT_A;
    expect("the first CR3: still a hit", CODE, 1, 1, 0, 0);
    m.cr3 = ROOT_B;
    expect("and the second", CODE, 2, 1, 0, 0);

    // A third CR3 that shares the kernel's top-level entry.
    uint64_t root = next_table;
    next_table += 0x1000;
    put64(root + 511 * 8, get64(ROOT_B + 511 * 8));
    m.cr3 = root;
    expect_fast("a CR3 with the same mapping: the fast path misses", CODE, 0);
    expect("a CR3 with the same mapping: hit", CODE, 2, 1, 0, 0);
    expect_fast("a CR3 with the same mapping: fast from then on", CODE, 2);
    put64(root + 511 * 8, get64(ROOT_A + 511 * 8));
    expect_fast("its own top-level entry counts now", CODE, 0);
    expect("its own top-level entry counts now: the other mapping", CODE, 1, 1, 0, 0);

    guest.nested_generation++;
    expect_fast("generation: the fast path misses", CODE, 0);
    expect("generation: miss", CODE, 1, 0, 1, 0);
    expect("generation: hit", CODE, 1, 1, 0, 0);
}

// A program that is started again and again: the same code at the same place, in page
// tables that are new each time. What is known of it must not outlive a change.
CASE(the_same_program_again) {
    reset();
    put_code(0x80100, cpuid_code, 2);
    put_code(0x80200, rex_cpuid_code, 3);
    put_code(0x81100, hlt_code, 1);
    for (int i = 0; i < 12; i++) {
        bool moved = i % 3 == 2, changed = i >= 6;
        m.cr3 = next_table;
        next_table += 0x1000;
        map(m.cr3, CODE, moved ? 0x81000 : 0x80000);
        if (i == 6) {
            put_code(0x80100, rex_cpuid_code, 3); // the first of the page, then the second
            put_code(0x80200, cpuid_code, 2);
        }
        expect("the first instruction", CODE, moved ? 1 : changed ? 3 : 2, 0, 1, 0);
        if (!moved) {
            expect("the second", CODE + 0x100, changed ? 2 : 3, 0, 1, 0);
            expect_fast("and both are there now", CODE, changed ? 3 : 2);
            expect_fast("and both are there now", CODE + 0x100, changed ? 2 : 3);
            map(m.cr3, CODE, 0x81000);
            expect("remapped meanwhile", CODE, 1, 0, 1, 1);
        }
    }
}

CASE(page_crossing_and_long_instructions) {
    reset();
    map(ROOT_A, CODE, 0x80000);
    map(ROOT_A, CODE + 0x1000, 0x92000); // not the next page of memory
    static const uint8_t code[] = {0x66, 0x0F, 0xA2};
    put_code(0x80FFE, code, 2);
    put_code(0x92000, code + 2, 1);
    expect("page-crossing: miss", EDGE, 3, 0, 1, 0);
    expect("page-crossing: hit", EDGE, 3, 1, 0, 0);
    ram[0x92000] = 0x1F; // nop [rbx + rax] or longer
    ram[0x92001] = 0x00;
    expect("page-crossing: second page's code changed", EDGE, 4, 0, 1, 1);
    put_code(0x93000, code + 2, 1);
    map(ROOT_A, CODE + 0x1000, 0x93000);
    expect("page-crossing: second page remapped", EDGE, 3, 0, 1, 1);
    ram[0x80FFE] = 0x48;
    expect("page-crossing: first page's code changed", EDGE, 3, 0, 1, 1);
    put64(pte_at(ROOT_A, CODE + 0x1000), 0);
    struct walk_fault fault;
    const struct insn *insn;
    vcpu.rip = EDGE;
    int result = vcpu_insn(&vcpu, &insn, &fault);
    check(result == -EFAULT && fault.address == CODE + 0xF00 && fault.error == 0x10 && !fault.hole,
        "page-crossing: the second page's fault", "result %d address %#" PRIx64 " error %#x", result, fault.address,
        fault.error);
    put_code(0x80FFE, cpuid_code, 2);
    expect("the page's last two bytes: no need of the next", EDGE, 2, 0, 1, 0);
    expect_fast("the page's last two bytes: fast", EDGE, 2);
    ram[0x80FFF] = 0x31;
    expect_fast("the page's last two bytes: change seen", EDGE, 0);
    ram[0x80FFF] = 0xA2;
    ram[0x80FFD] = 0x90;
    expect_fast("the byte before the instruction does not count", EDGE, 2);
    static const uint8_t wide[] = {0x48, 0xC7, 0x84, 0x05, 1, 2, 3, 4, 5, 6, 7, 8};
    put_code(0x80200, wide, sizeof(wide));
    expect("12 bytes: miss", CODE + 0x100, 12, 0, 1, 0);
    expect_fast("12 bytes: not for the fast path", CODE + 0x100, 0);
    expect("12 bytes: hit", CODE + 0x100, 12, 1, 0, 0);
    ram[0x8020B] = 9;
    expect("12 bytes: the last one changed", CODE + 0x100, 12, 0, 1, 1);
}

CASE(code_sizes_and_paging_modes) {
    reset();
    static const uint8_t code[] = {0x48, 0x0F, 0xA2}; // dec eax; cpuid | rex.w cpuid
    put_code(0x5000, code, 3);
    mode_flat(SEG_ATTR_DB);
    expect("32-bit code, paging off: miss", 0x5000, 1, 0, 1, 0);
    expect_fast("32-bit code, paging off: fast", 0x5000, 1);
    static const uint8_t wide[] = {0xC7, 0x86, 0x34, 0x12, 0x78, 0x56, 1, 2, 3, 4};
    put_code(0x6000, wide, sizeof(wide));
    expect("32-bit code: 10 bytes", 0x6000, 10, 0, 1, 0);
    m.cs_attributes &= ~SEG_ATTR_DB;
    expect("the same place as 16-bit code: 6 bytes", 0x6000, 6, 0, 1, 0);
    m.cs_base = 0x1000;
    expect("real mode adds the CS base", 0x5000, 6, 1, 0, 0);
    m.cs_base = 0xFFFF0000;
    mode_flat(0);
    m.cr0 = 0;
    m.cs_base = 0xF0000;
    put_code(0xFFFF0, hlt_code, 1);
    expect("real mode, top of the first MiB", 0xFFF0, 1, 0, 1, 0);
    m.cs_base = 0xFFFF0000;
    check(length_at(0xFFF0) == -EFAULT, "the reset vector lies in a hole here", "%d", length_at(0xFFF0));

    // Legacy 32-bit paging, identity for the first 4 MiB by 4 KiB pages.
    reset();
    put_code(0x5000, code, 3);
    mode_flat(SEG_ATTR_DB);
    m.cr0 = 0x80010001;
    m.cr3 = 0x20000;
    uint32_t pde = 0x21000 | 7, pte = 0x5000 | 7;
    memcpy(ram + 0x20000, &pde, 4);
    memcpy(ram + 0x21000 + 4 * 5, &pte, 4);
    expect("32-bit paging: miss", 0x5000, 1, 0, 1, 0);
    expect("32-bit paging: hit", 0x5000, 1, 1, 0, 0);
    expect_fast("32-bit paging: not for the fast path", 0x5000, 0);
    pte = 0x7000 | 7;
    put_code(0x7000, cpuid_code, 2);
    memcpy(ram + 0x21000 + 4 * 5, &pte, 4);
    expect("32-bit paging: remapped", 0x5000, 2, 0, 1, 1);
    m.cr0 = 1;
    expect("paging switched off under the same CR3", 0x5000, 1, 0, 1, 0);

    // 64-bit and 32-bit code at one place in long mode.
    reset();
    map(ROOT_A, 0x5000, 0x80000);
    put_code(0x80000, code, 3);
    expect("64-bit code: miss", 0x5000, 3, 0, 1, 0);
    m.cs_attributes = 0x9B | SEG_ATTR_DB;
    expect_fast("compatibility mode: the fast path misses", 0x5000, 0);
    expect("compatibility mode: another length", 0x5000, 1, 0, 1, 0);
    expect_fast("compatibility mode: fast too", 0x5000, 1);
    m.cs_attributes = 0x9B | SEG_ATTR_L;
    expect_fast("back in 64-bit code", 0x5000, 3);
    m.cr4 |= 0x1000;
    expect_fast("5 levels: the fast path misses", 0x5000, 0);
}

CASE(faults_and_bytes_for_messages) {
    reset();
    struct walk_fault fault;
    const struct insn *insn;
    vcpu.rip = CODE;
    int result = vcpu_insn(&vcpu, &insn, &fault);
    check(result == -EFAULT && fault.error == 0x10 && fault.address == CODE, "not mapped: a page fault",
        "result %d error %#x", result, fault.error);
    map(ROOT_A, CODE, 0x80000);
    put64(pte_at(ROOT_A, CODE), 0x80000 | 3);
    m.ss_attributes = 0x93 | 3 << SEG_ATTR_DPL_SHIFT;
    result = vcpu_insn(&vcpu, &insn, &fault);
    check(result == -EFAULT && fault.error == 0x15, "user code on a supervisor page", "result %d error %#x", result,
        fault.error);
    m.ss_attributes = 0x93;
    map(ROOT_A, CODE, UINT64_C(0xFEE00000));
    result = vcpu_insn(&vcpu, &insn, &fault);
    check(result == -EFAULT && fault.hole && fault.hole_gpa == UINT64_C(0xFEE00100), "code where no RAM is",
        "result %d hole %d at %#" PRIx64, result, fault.hole, fault.hole_gpa);
    map(ROOT_A, CODE, 0x80000);
    static const uint8_t none[] = {0x06}; // PUSH ES: not in 64-bit code
    put_code(0x80100, none, 1);
    check(vcpu_insn(&vcpu, &insn, &fault) == -EINVAL, "no instruction", "-");
    put_code(0x80100, cpuid_code, 2);
    check(vcpu_insn(&vcpu, &insn, &fault) == 0 && insn->length == 2, "a failure is not remembered", "-");

    uint8_t bytes[16];
    for (int i = 0; i < 16; i++) {
        ram[0x80FF8 + i] = (uint8_t)i;
    }
    vcpu.rip = CODE + 0xEF8;
    int count = vcpu_insn_bytes(&vcpu, bytes);
    check(count == 8 && bytes[7] == 7, "bytes: up to the last mapped page", "%d", count);
    uint64_t before = get64(pte_at(ROOT_A, CODE + 0x1000));
    map(ROOT_A, CODE + 0x1000, 0x81000);
    before = get64(pte_at(ROOT_A, CODE + 0x1000));
    count = vcpu_insn_bytes(&vcpu, bytes);
    check(count == 15 && bytes[14] == 14, "bytes: across pages", "%d", count);
    check(get64(pte_at(ROOT_A, CODE + 0x1000)) == before, "bytes: no accessed bit set", "-");
}

// Many places at once: collisions, replacement, both slots of a set.
CASE(many_places) {
    reset();
    for (uint64_t page = 0; page < 16; page++) {
        map(ROOT_A, CODE + page * 0x1000, 0x80000 + page * 0x1000);
        for (uint64_t at = 0; at < 0x1000; at += 16) {
            put_code(0x80000 + page * 0x1000 + at, at & 16 ? cpuid_code : rex_cpuid_code, at & 16 ? 2 : 3);
        }
    }
    bool right = true;
    for (int round = 0; round < 3; round++) {
        for (uint64_t at = 0x100; at < 0xF000; at += 16) {
            right = right && length_at(CODE + at) == (at & 16 ? 2 : 3);
        }
    }
    check(right, "3,800 places in turn", "a wrong length");
    for (uint64_t stride = 1; stride <= 64; stride *= 2) {
        reset();
        map(ROOT_A, CODE, 0x80000);
        map(ROOT_A, CODE + 0x1000, 0x81000);
        memset(ram + 0x80000, 0xF4, 0x2000);
        unsigned fast = 0;
        for (int round = 0; round < 2; round++) {
            fast = 0;
            for (uint64_t i = 0; i < 64; i++) {
                vcpu.rip = (CODE & ~UINT64_C(0xFFF)) + i * stride;
                bool hit = vcpu_insn_length_fast(&vcpu) == 1;
                fast += hit;
                if (!hit) {
                    length_at(vcpu.rip);
                }
            }
        }
        char name[64];
        snprintf(name, sizeof(name), "64 places %d bytes apart fit", (int)stride);
        check(fast == 64, name, "only %u", fast);
    }
}

// --- Against a fresh decode ---

static uint64_t seed = 0x853C49E6748FEA9B;
static uint64_t random64(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static const struct {
    enum insn_mode mode;
    ZydisMachineMode machine;
    ZydisStackWidth stack;
} zydis_modes[] = {
    {INSN_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    {INSN_LEGACY_32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
    {INSN_COMPAT_32, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
    {INSN_LONG_64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
};

static int zydis_length(int mode, const uint8_t *bytes, size_t size) {
    ZydisDecoder decoder;
    ZydisDecodedInstruction i;
    ZydisDecodedOperand ops_[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecoderInit(&decoder, zydis_modes[mode].machine, zydis_modes[mode].stack);
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, size, &i, ops_)) ? i.length : -1;
}

CASE(random_bytes_as_zydis_has_them) {
    unsigned valid = 0;
    for (int n = 0; n < 100000; n++) {
        uint8_t bytes[15];
        for (int i = 0; i < 15; i++) {
            bytes[i] = (uint8_t)random64();
        }
        int mode = (int)(random64() % 4);
        size_t size = random64() % 15 + 1;
        int want = zydis_length(mode, bytes, size);
        struct insn insn;
        int got = insn_decode(zydis_modes[mode].mode, bytes, size, &insn) ? -1 : insn.length;
        // The prefixed forms that Zydis refuses are the only difference.
        if (got != want && !(want < 0 && got >= 4 && insn.class == INSN_OTHER && !insn.mnemonic)) {
            check(false, "random bytes as Zydis has them", "case %d mode %d: %02X %02X %02X %02X: %d, Zydis %d", n,
                mode, bytes[0], bytes[1], bytes[2], bytes[3], got, want);
            return;
        }
        valid += got > 0;
    }
    check(valid > 20000, "random bytes as Zydis has them", "only %u were instructions", valid);
}

// Translation by hand for the tables of this test: 4 levels, 4 KiB pages, always mapped.
static uint8_t byte_at(uint64_t gva) {
    uint64_t table = m.cr3;
    for (int shift = 39; shift >= 12; shift -= 9) {
        table = get64(table + (gva >> shift & 511) * 8) & UINT64_C(0xFFFFFFFFFF000);
    }
    return ram[table + (gva & 0xFFF)];
}

// Random edits of code, page tables and mode between random fetches: the cache must
// always answer as a fresh decode does.
CASE(random_edits_between_fetches) {
    reset();
    static const uint64_t roots[] = {ROOT_A, ROOT_B};
    for (int r = 0; r < 2; r++) {
        for (uint64_t page = 0; page < 4; page++) {
            map(roots[r], CODE + page * 0x1000, 0x80000 + page * 0x1000);
            map(roots[r], 0x400000 + page * 0x1000, 0x84000 + page * 0x1000);
        }
    }
    put64(ROOT_B + 511 * 8, get64(ROOT_A + 511 * 8)); // the kernel half is shared
    for (uint32_t at = 0x80000; at < 0x90000; at++) {
        ram[at] = (uint8_t)random64();
    }
    uint64_t rips[48];
    for (int i = 0; i < 48; i++) {
        uint64_t base = i % 2 ? CODE & ~UINT64_C(0xFFF) : 0x400000;
        uint64_t offset = i % 4 < 2 ? 0xFF0 + random64() % 16 : random64() % 0x2000;
        rips[i] = base + offset + random64() % 2 * 0x1000;
    }
    unsigned fast_hits = 0;
    for (int n = 0; n < 300000; n++) {
        switch (random64() % 64) {
        case 0:
        case 1:
        case 2: {
            uint64_t near = rips[random64() % 48] + random64() % 12;
            ram[0x80000 + (near & 0x3FFF) + (near < 0x800000 ? 0x4000 : 0)] = (uint8_t)random64();
            break;
        }
        case 3: {
            uint64_t gva = (random64() % 2 ? CODE & ~UINT64_C(0xFFF) : 0x400000) + random64() % 4 * 0x1000;
            map(roots[random64() % 2], gva, 0x80000 + random64() % 8 * 0x1000);
            break;
        }
        case 4:
        case 5:
            m.cr3 = roots[random64() % 2];
            break;
        case 6:
            m.cs_attributes = 0x9B | (random64() % 2 ? SEG_ATTR_L : SEG_ATTR_DB);
            break;
        case 7:
            guest.nested_generation += random64() % 8 == 0;
            break;
        default:
            break;
        }
        bool wide = m.cs_attributes & SEG_ATTR_L;
        vcpu.rip = rips[random64() % 48];
        if (!wide && vcpu.rip > UINT32_MAX) {
            vcpu.rip = rips[0];
        }
        uint8_t bytes[15];
        for (uint64_t i = 0; i < 15; i++) {
            bytes[i] = byte_at(vcpu.rip + i);
        }
        struct insn fresh;
        int want = insn_decode(wide ? INSN_LONG_64 : INSN_COMPAT_32, bytes, 15, &fresh) ? -EINVAL : fresh.length;
        int fast = (int)vcpu_insn_length_fast(&vcpu);
        int got = length_at(vcpu.rip);
        fast_hits += fast > 0;
        if (got != want || (fast && fast != want)) {
            check(false, "random edits between fetches", "step %d rip %#" PRIx64 ": cache %d, fast %d, fresh %d", n,
                vcpu.rip, got, fast, want);
            return;
        }
    }
    struct insn_stats s = vcpu_insn_stats(&vcpu);
    check(s.stale > 1000 && fast_hits > 50000 && s.misses > s.stale, "random edits between fetches",
        "too tame: %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " stale, %u fast", s.hits, s.misses, s.stale,
        fast_hits);
}
