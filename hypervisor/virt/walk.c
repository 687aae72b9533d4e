// Walks of the guest's own page tables, in every paging mode (SDM 3A chapter 4,
// revision 081; APM volume 2 chapter 5).
//
// Guest memory is reached only by guest_read_ptr and guest_write_ptr. Other CPUs of
// the guest may change the tables at any time, so A and D bits are set by
// compare-exchange and a lost race starts the walk again.
#include "virt/decode.h"

#include "cpu/err.h"
#include "virt/x86.h"

// Control register bits (SDM 3A 2.5).
#define CR4_PSE (UINT64_C(1) << 4)
#define RFLAGS_AC (UINT64_C(1) << 18)

// Page-table entry bits (SDM 3A 4.3 to 4.5).
#define PTE_P (UINT64_C(1) << 0)
#define PTE_W (UINT64_C(1) << 1)
#define PTE_U (UINT64_C(1) << 2)
#define PTE_A (UINT64_C(1) << 5)
#define PTE_D (UINT64_C(1) << 6)
#define PTE_PS (UINT64_C(1) << 7)
#define PTE_XD (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000FFFFFFFFFF000)
#define PTE_ADDRESS_32 UINT64_C(0xFFFFF000)
#define CR3_PAE_ADDRESS UINT64_C(0xFFFFFFE0) // 32-byte aligned, 4 GiB (SDM 3A table 4-7)
#define PAE_IGNORED_END 52 // PAE entries reserve bits 62 to MAXPHYADDR, others 51 to it
#define PSE36_LOW 13 // PDE bits 20:13 are address bits 39:32 (SDM 3A table 4-4)
#define PSE36_BITS 8
#define PDE_4M_ADDRESS UINT64_C(0xFFC00000)
#define PDE_4M_BIT_21 (UINT64_C(1) << 21)

// #PF error code (SDM 3A 4.7).
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_ID = 16 };

#define WALK_RETRIES 64

// The tables of one mode, as data: what the generic walk below reads.
struct paging {
    int levels; // 2, 3, 4, 5
    uint32_t entry_size;
    uint32_t index_bits;
    bool pae_root; // the top level is the four PDPTEs of PAE paging
    uint64_t root;
    uint64_t reserved; // in every entry
};

static bool long_mode(const struct walk_context *c) {
    return c->efer & EFER_LMA;
}

uint32_t walk_entry_size(const struct walk_context *c) {
    return (c->cr4 & CR4_PAE) || long_mode(c) ? 8 : 4;
}

static uint64_t bits_from(unsigned first, unsigned end) {
    return first >= end ? 0 : ((UINT64_C(1) << end) - 1) & ~((UINT64_C(1) << first) - 1);
}

static void paging_of(const struct walk_context *c, struct paging *p) {
    p->pae_root = false;
    p->entry_size = walk_entry_size(c);
    if (p->entry_size == 4) {
        p->levels = 2;
        p->index_bits = 10;
        p->root = c->cr3 & PTE_ADDRESS_32;
        p->reserved = 0;
        return;
    }
    p->index_bits = 9;
    p->reserved = bits_from(c->phys_bits, PAE_IGNORED_END) | (c->efer & EFER_NXE ? 0 : PTE_XD);
    if (long_mode(c)) {
        p->levels = c->cr4 & CR4_LA57 ? 5 : 4;
        p->root = c->cr3 & PTE_ADDRESS;
        return;
    }
    p->levels = 3;
    p->pae_root = true;
    // A PDPTE is read from memory here as an AMD CPU does under nested paging (APM
    // 15.25.10); Intel keeps the copies of the last MOV CR3 in the VMCS.
    p->root = c->cr3 & CR3_PAE_ADDRESS;
    p->reserved |= bits_from(PAE_IGNORED_END, 63);
}

// Largest page that an entry at `level` can map (1 is the last).
static bool maps_page(const struct walk_context *c, const struct paging *p, int level, uint64_t entry) {
    if (level == 1) {
        return true;
    }
    if (!(entry & PTE_PS)) {
        return false;
    }
    if (p->entry_size == 4) {
        return c->cr4 & CR4_PSE; // without PSE the bit is ignored
    }
    return level == 2 || (level == 3 && !p->pae_root);
}

static uint64_t reserved_bits(const struct walk_context *c, const struct paging *p, int level, bool leaf) {
    if (p->entry_size == 4) {
        if (level == 1 || !leaf) {
            return 0;
        }
        // Physical address bits above 39 do not exist in a 4 MiB PDE; those between
        // MAXPHYADDR and 40 are reserved, and so is bit 21.
        unsigned width = c->phys_bits < 40 ? (c->phys_bits < 32 ? 32 : c->phys_bits) : 40;
        return PDE_4M_BIT_21 | bits_from(PSE36_LOW + width - 32, PSE36_LOW + PSE36_BITS);
    }
    if (p->pae_root && level == p->levels) {
        // PDPTE of PAE paging: 2:1 and 8:5 besides (SDM 3A table 4-8).
        return p->reserved | PTE_XD | bits_from(1, 3) | bits_from(5, 9);
    }
    if (leaf && level > 1) {
        // Bit 12 is PAT; from 13 to the page's own offset width is reserved.
        return p->reserved | bits_from(13, 12 + 9 * (unsigned)(level - 1));
    }
    return p->reserved | (level > 3 ? PTE_PS : 0);
}

static uint64_t page_address(const struct paging *p, int level, uint64_t entry, uint64_t gva) {
    unsigned offset_bits = 12 + p->index_bits * (unsigned)(level - 1);
    uint64_t offset = (UINT64_C(1) << offset_bits) - 1;
    uint64_t base;
    if (p->entry_size == 4 && level == 2) {
        uint64_t high = entry >> PSE36_LOW & ((1 << PSE36_BITS) - 1);
        base = (entry & PDE_4M_ADDRESS) | high << 32;
    } else {
        base = entry & (p->entry_size == 4 ? PTE_ADDRESS_32 : PTE_ADDRESS) & ~offset;
    }
    return base | (gva & offset);
}

static bool read_entry(const struct walk_context *c, uint64_t gpa, uint32_t size, uint64_t *entry) {
    size_t available = 0;
    const void *at = guest_read_ptr(c->guest, gpa, &available);
    if (!at || available < size) {
        return false;
    }
    if (size == 4) {
        *entry = __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
    } else {
        *entry = __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
    }
    return true;
}

// Sets `bits` in the entry if it is still what the walk saw. False: it is not.
static bool set_bits(const struct walk_context *c, struct walk_level *l, uint32_t size, uint64_t bits) {
    if ((l->value & bits) == bits) {
        return true;
    }
    size_t available = 0;
    void *at = guest_write_ptr(c->guest, l->gpa, &available);
    if (!at || available < size) {
        return true; // tables in read-only memory: nothing to record
    }
    uint64_t wanted = l->value | bits;
    if (size == 4) {
        uint32_t seen = (uint32_t)l->value;
        if (!__atomic_compare_exchange_n((uint32_t *)at, &seen, (uint32_t)wanted, false, __ATOMIC_SEQ_CST,
                __ATOMIC_RELAXED)) {
            return false;
        }
    } else {
        uint64_t seen = l->value;
        if (!__atomic_compare_exchange_n((uint64_t *)at, &seen, wanted, false, __ATOMIC_SEQ_CST,
                __ATOMIC_RELAXED)) {
            return false;
        }
    }
    l->value = wanted;
    return true;
}

// Access rights of a present translation (SDM 3A 4.6).
static bool allowed(const struct walk_context *c, uint32_t access, bool user_page, bool writable, bool xd) {
    if (access & ACCESS_USER) {
        if (!user_page || ((access & ACCESS_WRITE) && !writable)) {
            return false;
        }
        return !((access & ACCESS_FETCH) && xd);
    }
    if (access & ACCESS_FETCH) {
        return !xd && !(user_page && (c->cr4 & CR4_SMEP));
    }
    if (user_page && (c->cr4 & CR4_SMAP) && !((c->rflags & RFLAGS_AC) && c->cpl < 3)) {
        return false;
    }
    return !(access & ACCESS_WRITE) || writable || !(c->cr0 & CR0_WP);
}

static int page_fault(const struct walk_context *c, uint64_t gva, uint32_t access, uint32_t bits,
    struct walk_fault *fault) {
    bool reports_fetch = (c->cr4 & CR4_SMEP) || (walk_entry_size(c) == 8 && (c->efer & EFER_NXE));
    fault->error = bits | (access & ACCESS_WRITE ? PF_W : 0u) | (access & ACCESS_USER ? PF_U : 0u)
        | ((access & ACCESS_FETCH) && reports_fetch ? PF_ID : 0u);
    fault->address = gva;
    return -EFAULT;
}

// One walk. -EAGAIN: an entry changed under it.
static int walk_once(const struct walk_context *c, const struct paging *p, uint64_t gva, uint32_t access,
    bool set_ad, uint64_t *gpa, struct walk_fault *fault, struct walk_level *levels, int *count) {
    uint64_t table = p->root;
    bool user_page = true, writable = true, xd = false;
    int level = p->levels, used = 0;
    for (;; level--) {
        unsigned shift = 12 + p->index_bits * (unsigned)(level - 1);
        bool pae_top = p->pae_root && level == p->levels;
        uint64_t index = gva >> shift & ((UINT64_C(1) << (pae_top ? 2 : p->index_bits)) - 1);
        struct walk_level *l = &levels[used++];
        l->gpa = table + index * p->entry_size;
        if (!read_entry(c, l->gpa, p->entry_size, &l->value)) {
            *fault = (struct walk_fault){.address = gva, .hole = true, .hole_gpa = l->gpa};
            return -EFAULT;
        }
        uint64_t entry = l->value;
        if (!(entry & PTE_P)) {
            return page_fault(c, gva, access, 0, fault);
        }
        bool leaf = maps_page(c, p, level, entry);
        if (entry & reserved_bits(c, p, level, leaf)) {
            return page_fault(c, gva, access, PF_P | PF_RSVD, fault);
        }
        if (!pae_top) {
            user_page = user_page && (entry & PTE_U);
            writable = writable && (entry & PTE_W);
            xd = xd || (p->entry_size == 8 && (entry & PTE_XD));
        }
        if (leaf) {
            *gpa = page_address(p, level, entry, gva);
            break;
        }
        table = entry & (p->entry_size == 4 ? PTE_ADDRESS_32 : PTE_ADDRESS);
    }
    *count = used;
    if (!allowed(c, access, user_page, writable, xd)) {
        return page_fault(c, gva, access, PF_P, fault);
    }
    if (!set_ad) {
        return 0;
    }
    for (int i = p->pae_root ? 1 : 0; i < used; i++) {
        bool dirty = i == used - 1 && (access & ACCESS_WRITE);
        if (!set_bits(c, &levels[i], p->entry_size, PTE_A | (dirty ? PTE_D : 0))) {
            return -EAGAIN;
        }
    }
    return 0;
}

int guest_walk(const struct walk_context *c, uint64_t gva, uint32_t access, bool set_ad, uint64_t *gpa,
    struct walk_fault *fault, struct walk_level *levels, int *level_count) {
    struct walk_level own[WALK_LEVELS];
    int own_count;
    if (!levels) {
        levels = own;
    }
    if (!level_count) {
        level_count = &own_count;
    }
    *level_count = 0;
    *fault = (struct walk_fault){0};
    if (!long_mode(c)) {
        gva = (uint32_t)gva;
    }
    if (!(c->cr0 & CR0_PG)) {
        *gpa = gva;
        return 0;
    }
    struct paging p;
    paging_of(c, &p);
    if (long_mode(c)) {
        unsigned unused = 64 - (12 + 9 * (unsigned)p.levels);
        if ((uint64_t)((int64_t)(gva << unused) >> unused) != gva) {
            *fault = (struct walk_fault){.address = gva, .non_canonical = true};
            return -EFAULT;
        }
    }
    for (int attempt = 0; attempt < WALK_RETRIES; attempt++) {
        int result = walk_once(c, &p, gva, access, set_ad, gpa, fault, levels, level_count);
        if (result != -EAGAIN) {
            return result;
        }
    }
    return -EAGAIN;
}

void walk_context(struct vcpu *v, struct walk_context *c) {
    c->guest = v->guest;
    c->cr0 = virt->reg_get(v, REG_CR0);
    c->cr3 = virt->reg_get(v, REG_CR3);
    c->cr4 = virt->reg_get(v, REG_CR4);
    c->efer = virt->reg_get(v, REG_EFER);
    c->rflags = virt->reg_get(v, REG_RFLAGS);
    c->phys_bits = virt_caps.phys_bits;
    if (!(c->cr0 & CR0_PE)) {
        c->cpl = 0;
    } else if (c->rflags & RFLAGS_VM) {
        c->cpl = 3;
    } else {
        struct segment ss;
        virt->seg_get(v, SEG_SS, &ss);
        c->cpl = ss.attributes >> SEG_ATTR_DPL_SHIFT & 3;
    }
}
